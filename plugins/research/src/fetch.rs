//! ③ How a page is had: redirects, and what of an answer is refused.

use std::time::{Duration, Instant};

use url::Url;

use crate::{find::fetchable, text::ContentType};

/// How many redirects are followed for a page.
const REDIRECTS: usize = 3;

/// The head of an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) location: Option<String>,
}

/// Sends GET requests. WebAssembly's is `http`; tests bring their own.
///
/// Redirects are not followed: each hop is a request of its own, which the host vets like the first.
pub(crate) trait Fetch {
    /// A request that was sent.
    type Sent;

    /// Sends a request, without waiting for its answer.
    fn send(&mut self, url: &Url) -> Result<Self::Sent, String>;

    /// Waits for the answer, and reads its body if `wants` says so. Dropping `Sent` instead ends the request.
    fn receive(
        &mut self,
        sent: Self::Sent,
        deadline: Instant,
        wants: impl FnOnce(&Head) -> bool,
    ) -> Result<(Head, Vec<u8>), String>;
}

/// The text of the page at `url`, which was asked for by `sent`; or why there is none.
pub(crate) fn page<F: Fetch>(
    fetch: &mut F,
    url: &Url,
    sent: Result<F::Sent, String>,
    timeout: Duration,
) -> Result<String, String> {
    let deadline = Instant::now() + timeout;
    let (mut url, mut sent) = (url.clone(), sent?);
    for _ in 0..=REDIRECTS {
        let (head, body) = fetch.receive(sent, deadline, |head| content_type(head).is_ok())?;
        if !matches!(head.status, 301 | 302 | 303 | 307 | 308) {
            let text = content_type(&head)?.read(&body);
            return if text.trim().is_empty() { Err("has no text".to_owned()) } else { Ok(text) };
        }
        let location = head.location.ok_or("redirects to nowhere")?;
        url = url.join(&location).ok().and_then(fetchable).ok_or("redirects to what is no page")?;
        sent = fetch.send(&url)?;
    }
    Err(format!("redirects more than {REDIRECTS} times"))
}

fn content_type(head: &Head) -> Result<ContentType, String> {
    if head.status != 200 {
        return Err(format!("answered with status {}", head.status));
    }
    let header = head.content_type.as_deref().unwrap_or("");
    ContentType::parse(header).ok_or_else(|| format!("is no text but {header:?}"))
}
