//! Each way in which an upstream ends, with each thing that a link may do, at each chunking: one end and the right
//! one, nothing left behind, and accounts that add up to what the client has.

use std::sync::Arc;

use super::client::Client;
use super::links::{Fake, failure, fault, holding, looking, masking};
use super::support::*;
use super::*;
use crate::account::Account;
use crate::lane::{Outcome, Rejection, Stop};
use crate::stage::{OnError, StageError};

const TEXT: &str = "abcb";
const MASKED: &str = "a*b";
const SAYS: &str = "no.";

fn body() -> [String; 7] {
    [role(), delta("ab"), delta("c"), delta("b"), finish(), usage(), DONE.to_owned()]
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ends {
    Cleanly,
    Broken,
    Never,
}

/// What a link does.
#[derive(Debug, Clone)]
enum Does {
    Look,
    Mask,
    Hold,
    Stop(usize, Stop),
    /// At one call, or at its end.
    Fail(Option<usize>, StageError, OnError),
}

impl Does {
    fn all() -> Vec<Self> {
        let rejection = Rejection { status: 422, message: "not this".into() };
        let stops = [Stop::Block("why".into()), Stop::Respond(SAYS.into()), Stop::Reject(rejection)];
        let at = |call| {
            let stops = stops.clone().map(|stop| Self::Stop(call, stop));
            let policies = [OnError::FailClosed, OnError::FailOpen, OnError::Skip];
            let fails = policies
                .map(|policy| [failure(), fault()].map(|error| Self::Fail(Some(call), error, policy)));
            stops.into_iter().chain(fails.into_iter().flatten())
        };
        let ends = [OnError::FailClosed, OnError::FailOpen].map(|policy| Self::Fail(None, failure(), policy));
        [Self::Look, Self::Mask, Self::Hold].into_iter().chain((0..4).flat_map(at)).chain(ends).collect()
    }

    fn link(&self) -> Fake {
        match self.clone() {
            Self::Look => looking(),
            Self::Mask => masking(&["bc"], "*"),
            Self::Hold => holding(),
            Self::Stop(call, stop) => {
                looking().after(call, Ok(Outcome { stop: Some(stop), ..Outcome::default() }))
            }
            Self::Fail(Some(call), error, policy) => holding().after(call, Err(error)).on_error(policy),
            Self::Fail(None, error, policy) => Fake::failing_at("finish", error).on_error(policy),
        }
    }

    fn is(&self, kind: &str) -> bool {
        match self {
            Self::Stop(_, stop) => matches!(
                (stop, kind),
                (Stop::Block(_), "block") | (Stop::Respond(_), "respond") | (Stop::Reject(_), "reject")
            ),
            Self::Fail(_, _, policy) => *policy == OnError::FailClosed && kind == "closed",
            _ => false,
        }
    }
}

/// An exchange, told by its parts for messages.
struct Case<'a> {
    does: &'a [Does],
    ends: Ends,
    /// Whether the upstream has said all that it has, or at least its finish reason.
    whole: bool,
    finished: bool,
}

impl Case<'_> {
    fn any(&self, kind: &str) -> bool {
        self.does.iter().any(|does| does.is(kind))
    }

    fn check(&self, parts: Vec<Result<Bytes, UpstreamError>>, told: &str) {
        let plugins: Vec<Fake> = self.does.iter().map(Does::link).collect();
        let script = Script::Stream { parts, open: self.ends == Ends::Never };
        let scene = Scene::new(&plugins, script);
        let client = Client::of(scene.stream().unwrap());
        assert_eq!(Arc::strong_count(&scene.upstream.guard), 1, "{told}");
        self.check_end(&client, told);
        self.check_text(&client.text(), told);
        let accounts: Vec<Account> = plugins.iter().map(|plugin| plugin.total.snapshot()).collect();
        check_accounts(&accounts, &client, told);
    }

    fn check_end(&self, client: &Client, told: &str) {
        let reasons: Vec<String> = client.finishes().into_iter().map(|(_, reason)| reason).collect();
        match &client.end {
            Some(End::Complete) => {
                assert_eq!(reasons, ["stop"], "{told}");
                assert!(self.whole || (self.finished && self.ends == Ends::Cleanly), "{told}");
            }
            Some(End::Stopped) if self.any("block") => assert_eq!(reasons, ["content_filter"], "{told}"),
            Some(End::Stopped) => {
                assert!(self.any("respond"), "{told}");
                assert_eq!(reasons, ["stop"], "{told}");
            }
            Some(End::Failed(ExchangeError::Upstream(_))) => {
                assert!(!self.whole && self.ends != Ends::Never, "{told}");
                assert!(reasons.is_empty() || self.finished, "{told}");
            }
            Some(End::Failed(error)) => {
                let kind = if matches!(error, ExchangeError::Rejected { .. }) { "reject" } else { "closed" };
                assert!(self.any(kind) && reasons.is_empty(), "{told}: {error}");
            }
            None => assert!(self.ends == Ends::Never && !self.whole, "{told}"),
        }
        let usages = client.frames.iter().filter(|frame| **frame == usage()).count();
        assert!(usages <= usize::from(self.finished) && (usages == 0 || !reasons.is_empty()), "{told}");
    }

    fn check_text(&self, text: &str, told: &str) {
        let masks = self.does.iter().any(|does| matches!(does, Does::Mask));
        let expected = if masks { MASKED } else { TEXT };
        let own = text.strip_suffix(SAYS).filter(|_| self.any("respond")).unwrap_or(text);
        // What a mask still held when a later link answered for good is gone.
        assert!(expected.starts_with(own), "{told}: {text}");
    }
}

/// Whether what came is what went, and what the last link let go is what the client has.
fn check_accounts(accounts: &[Account], client: &Client, told: &str) {
    for account in accounts {
        // Each edit makes one byte of two.
        let answer = &account.answer;
        assert_eq!(answer.bytes_in, answer.bytes_out + answer.edits + account.dropped, "{told}: {account:?}");
        assert!(answer.unscanned <= answer.bytes_out, "{told}: {account:?}");
    }
    if let Some(last) = accounts.last() {
        // What it says itself did not come to it.
        let own = if last.stops.contains_key("respond") { SAYS.len() } else { 0 };
        assert_eq!(last.answer.bytes_out, (client.text().len() - own) as u64, "{told}: {last:?}");
    }
}

/// A body up to a byte, in pieces of the kind `chunking`.
fn pieces(sent: &str, chunking: usize) -> Vec<Result<Bytes, UpstreamError>> {
    let bytes = |piece: &[u8]| Ok(Bytes::copy_from_slice(piece));
    match chunking {
        0 => sent.as_bytes().chunks(1).map(bytes).collect(),
        1 => sent.split_inclusive("\n\n").map(|piece| bytes(piece.as_bytes())).collect(),
        _ => vec![bytes(sent.as_bytes())],
    }
}

#[test]
fn every_ending_with_every_link_is_told_once_and_accounted_for() {
    let parts = body();
    let (sent, finish_at) = (parts.concat(), parts[..5].concat().len());
    let ends: Vec<usize> = (0..=parts.len()).map(|count| parts[..count].concat().len()).collect();
    let within = ends.iter().map(|end| end + 9).filter(|at| *at < sent.len());
    let cuts: Vec<usize> = ends.iter().copied().chain(within).collect();
    let mut scenes: Vec<Vec<Does>> = Does::all().into_iter().map(|does| vec![does]).collect();
    for does in Does::all() {
        scenes.push(vec![Does::Mask, does.clone()]);
        scenes.push(vec![does, Does::Hold]);
    }
    for does in &scenes {
        for (&cut, ends) in
            cuts.iter().flat_map(|cut| [Ends::Cleanly, Ends::Broken, Ends::Never].map(|ends| (cut, ends)))
        {
            let (whole, finished) = (cut == sent.len(), cut >= finish_at);
            let case = Case { does, ends, whole, finished };
            for chunking in 0..3 {
                let mut parts = pieces(&sent[..cut], chunking);
                parts.extend((ends == Ends::Broken).then(|| Err(UpstreamError::Incomplete("reset".into()))));
                case.check(parts, &format!("{does:?}, {ends:?} at {cut}, chunking {chunking}"));
            }
        }
    }
}
