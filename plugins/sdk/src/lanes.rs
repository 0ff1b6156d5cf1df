//! State per lane.

use crate::{Batch, CloseReason, Lane};

/// A state for each open lane: made when the lane opens, dropped when it closes.
///
/// # Examples
///
/// A session that holds every text back until it is complete:
///
/// ```
/// use rust_proxy_sdk::{Batch, Lanes, Outcome, Session};
///
/// struct Whole {
///     begins: Lanes<u32>,
/// }
///
/// impl Session for Whole {
///     fn push(&mut self, batch: &Batch) -> Result<Outcome, String> {
///         let mut outcome = Outcome::release();
///         self.begins.update(batch, |_| 0, |begin, update| {
///             if update.closed.is_none() {
///                 outcome.hold(update.lane, *begin);
///             }
///             Ok(())
///         })?;
///         Ok(outcome)
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Lanes<S> {
    // Few are open at once, by ascending number: a list is found through faster than a map is hashed.
    open: Vec<Open<S>>,
}

#[derive(Debug, Clone)]
struct Open<S> {
    lane: u32,
    end: u32,
    state: S,
}

/// What a batch has for one lane.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// The lane.
    pub lane: u32,
    /// Where `text` begins in the lane.
    pub offset: u32,
    /// The new text; empty if the lane only ends.
    pub text: &'a str,
    /// Why the lane ends, if it does. Nothing of it can be held then.
    pub closed: Option<CloseReason>,
}

impl<'a> Update<'a> {
    /// Where the lane ends now.
    ///
    /// # Examples
    ///
    /// ```
    /// let update = rust_proxy_sdk::Update { lane: 0, offset: 4, text: "héy", closed: None };
    /// assert_eq!(update.end(), 8);
    /// ```
    pub const fn end(&self) -> u32 {
        self.offset + self.text.len() as u32
    }

    /// The characters of the new text, each with its place in the lane.
    ///
    /// # Examples
    ///
    /// ```
    /// let update = rust_proxy_sdk::Update { lane: 0, offset: 4, text: "héy", closed: None };
    /// assert_eq!(update.chars().collect::<Vec<_>>(), [(4, 'h'), (5, 'é'), (7, 'y')]);
    /// ```
    pub fn chars(&self) -> impl Iterator<Item = (u32, char)> + use<'a> {
        let offset = self.offset;
        self.text.char_indices().map(move |(at, c)| (offset + at as u32, c))
    }
}

impl<S> Default for Lanes<S> {
    fn default() -> Self {
        Self { open: Vec::new() }
    }
}

impl<S> Lanes<S> {
    /// No lanes.
    ///
    /// # Examples
    ///
    /// ```
    /// let lanes = rust_proxy_sdk::Lanes::<String>::new();
    /// assert!(lanes.is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no lane is open.
    pub const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The number of lanes that are open.
    pub const fn len(&self) -> usize {
        self.open.len()
    }

    /// Takes in a batch: `open` makes the state of each lane that begins; `each` is called once for each lane
    /// that has new text or ends; the states of those that end are dropped.
    ///
    /// # Errors
    ///
    /// The first error of `each`, or that the batch has a lane that was never opened.
    ///
    /// # Examples
    ///
    /// The type's own documentation has one.
    pub fn update(
        &mut self,
        batch: &Batch,
        mut open: impl FnMut(&Lane) -> S,
        mut each: impl FnMut(&mut S, Update<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        for lane in &batch.opened {
            let at = self.open.partition_point(|open| open.lane < lane.id);
            self.open.insert(at, Open { lane: lane.id, end: 0, state: open(lane) });
        }
        // A whole answer can open and close thousands of lanes in one batch.
        let mut closed = batch.closed.clone();
        closed.sort_unstable_by_key(|(lane, _)| *lane);
        let reason = |lane: u32| {
            let at = closed.binary_search_by_key(&lane, |(lane, _)| *lane).ok()?;
            closed.get(at).map(|(_, why)| *why)
        };
        let mut grown = Vec::new();
        for piece in &batch.pieces {
            let open = self.find(piece.lane)?;
            let update = Update {
                lane: piece.lane,
                offset: piece.offset,
                text: &piece.text,
                closed: reason(piece.lane),
            };
            open.end = update.end();
            if update.closed.is_some() {
                grown.push(piece.lane);
            }
            each(&mut open.state, update)?;
        }
        grown.sort_unstable();
        for &(lane, why) in &batch.closed {
            if grown.binary_search(&lane).is_err() {
                let open = self.find(lane)?;
                each(&mut open.state, Update { lane, offset: open.end, text: "", closed: Some(why) })?;
            }
        }
        if !closed.is_empty() {
            self.open.retain(|open| reason(open.lane).is_none());
        }
        Ok(())
    }

    fn find(&mut self, lane: u32) -> Result<&mut Open<S>, String> {
        let at = self.open.binary_search_by_key(&lane, |open| open.lane);
        at.ok().and_then(|at| self.open.get_mut(at)).ok_or_else(|| format!("lane {lane} is not open"))
    }
}

#[cfg(test)]
mod tests {
    use super::Lanes;
    use crate::{Batch, Channel, CloseReason, Lane, Piece};

    fn lane(id: u32) -> Lane {
        Lane { id, choice: 0, part: 0, channel: Channel::Text, name: None, pointer: None }
    }

    fn piece(lane: u32, offset: u32, text: &str) -> Piece {
        Piece { lane, offset, text: text.to_owned() }
    }

    #[test]
    fn a_lane_is_updated_once_per_batch_and_dropped_when_it_closes() {
        let mut lanes = Lanes::new();
        let mut push = |opened: &[u32], pieces: &[Piece], closed: &[u32]| {
            let mut seen = Vec::new();
            let batch = Batch {
                opened: opened.iter().map(|id| lane(*id)).collect(),
                pieces: pieces.to_vec(),
                closed: closed.iter().map(|id| (*id, CloseReason::Stop)).collect(),
            };
            let each = |state: &mut String, update: super::Update<'_>| {
                state.push_str(update.text);
                seen.push((update.lane, update.offset, state.clone(), update.closed.is_some()));
                Ok(())
            };
            lanes.update(&batch, |_| String::new(), each).map(|()| (seen, lanes.len()))
        };
        let seen = |lane, offset, text: &str, closed| (lane, offset, text.to_owned(), closed);

        assert_eq!(push(&[1, 2], &[piece(1, 0, "a")], &[]), Ok((vec![seen(1, 0, "a", false)], 2)));
        assert_eq!(push(&[], &[piece(1, 1, "b")], &[1]), Ok((vec![seen(1, 1, "ab", true)], 1)));
        assert_eq!(push(&[], &[piece(2, 0, "é")], &[]), Ok((vec![seen(2, 0, "é", false)], 1)));
        assert_eq!(push(&[3], &[], &[2, 3]), Ok((vec![seen(2, 2, "é", true), seen(3, 0, "", true)], 0)));
        assert_eq!(push(&[], &[piece(2, 2, "x")], &[]), Err("lane 2 is not open".to_owned()));
    }
}
