//! Methods that fill the contract's answers.

use std::ops::Range;

use crate::types::{Insertion, TextChange};
use crate::{Body, Change, Decision, Edit, Finding, Hold, Item, Outcome, Rejection, Stop};

impl Outcome {
    /// Releases everything unchanged: the beginning of every answer.
    ///
    /// # Examples
    ///
    /// ```
    /// use rust_proxy_sdk::Outcome;
    ///
    /// let mut outcome = Outcome::release();
    /// // Lane 3: "password" becomes "***", "!" is put behind it, and from byte 20 on text is kept.
    /// outcome.replace(3, 4..12, "***").insert(3, 12, "!").hold(3, 20);
    /// assert_eq!(outcome.edits.len(), 2);
    /// ```
    pub const fn release() -> Self {
        Self { edits: Vec::new(), holds: Vec::new(), findings: Vec::new(), stop: None }
    }

    /// Replaces a span of a lane of this batch. Edits of a lane are given in order, and before its hold.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut outcome = rust_proxy_sdk::Outcome::release();
    /// outcome.replace(0, 2..5, "");
    /// assert_eq!((outcome.edits[0].start, outcome.edits[0].end), (2, 5));
    /// ```
    pub fn replace(&mut self, lane: u32, span: Range<u32>, text: impl Into<String>) -> &mut Self {
        self.edits.push(Edit { lane, start: span.start, end: span.end, text: text.into() });
        self
    }

    /// Inserts text into a lane of this batch, before the byte `at`.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut outcome = rust_proxy_sdk::Outcome::release();
    /// outcome.insert(0, 7, "!");
    /// assert_eq!((outcome.edits[0].start, outcome.edits[0].end), (7, 7));
    /// ```
    pub fn insert(&mut self, lane: u32, at: u32, text: impl Into<String>) -> &mut Self {
        self.replace(lane, at..at, text)
    }

    /// Keeps a lane of this batch from `start` on, until the next batch that has it. Once per lane, and not for
    /// one that closes.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut outcome = rust_proxy_sdk::Outcome::release();
    /// outcome.hold(1, 0);
    /// assert_eq!((outcome.holds[0].lane, outcome.holds[0].start), (1, 0));
    /// ```
    pub fn hold(&mut self, lane: u32, start: u32) -> &mut Self {
        self.holds.push(Hold { lane, start });
        self
    }

    /// Reports a span of a lane: `rule` is the name of what was found, never the text itself.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut outcome = rust_proxy_sdk::Outcome::release();
    /// outcome.report(0, 2..5, "card-number");
    /// assert_eq!(outcome.findings[0].rule, "card-number");
    /// ```
    pub fn report(&mut self, lane: u32, span: Range<u32>, rule: impl Into<String>) -> &mut Self {
        self.findings.push(Finding { lane, start: span.start, end: span.end, rule: rule.into() });
        self
    }

    /// Ends the answer here, marked as filtered; what is held is dropped. `reason` is for the log.
    ///
    /// # Examples
    ///
    /// ```
    /// use rust_proxy_sdk::{Outcome, Stop};
    ///
    /// let mut outcome = Outcome::release();
    /// outcome.hold(0, 12).block("rule 7");
    /// assert_eq!(outcome.stop, Some(Stop::Block("rule 7".to_owned())));
    /// ```
    pub fn block(&mut self, reason: impl Into<String>) -> &mut Self {
        self.stop = Some(Stop::Block(reason.into()));
        self
    }

    /// Ends the answer with this text in the place of all that was not released, in every choice.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut outcome = rust_proxy_sdk::Outcome::release();
    /// outcome.respond("I would rather not say.");
    /// assert!(outcome.stop.is_some());
    /// ```
    pub fn respond(&mut self, text: impl Into<String>) -> &mut Self {
        self.stop = Some(Stop::Respond(text.into()));
        self
    }

    /// Ends the exchange with an error; once the answer flows, the client gets the message only.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut outcome = rust_proxy_sdk::Outcome::release();
    /// outcome.reject(403, "Ask for something else.");
    /// assert!(outcome.stop.is_some());
    /// ```
    pub fn reject(&mut self, status: u16, message: impl Into<String>) -> &mut Self {
        self.stop = Some(Stop::Reject(Rejection { status, message: message.into() }));
        self
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self::release()
    }
}

impl Decision {
    /// Leaves the request as it came: the beginning of every decision.
    ///
    /// # Examples
    ///
    /// ```
    /// use rust_proxy_sdk::Decision;
    ///
    /// let mut decision = Decision::unchanged();
    /// decision.drop_message(1).insert(2, "system", "Be brief.").route("small-model");
    /// assert_eq!(decision.changes.len(), 2);
    /// ```
    pub const fn unchanged() -> Self {
        Self { changes: Vec::new(), route: None, findings: Vec::new(), stop: None }
    }

    /// Replaces the text of an item; at most once per item.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut decision = rust_proxy_sdk::Decision::unchanged();
    /// decision.set_text(4, "new text");
    /// assert_eq!(decision.changes.len(), 1);
    /// ```
    pub fn set_text(&mut self, item: u32, text: impl Into<String>) -> &mut Self {
        self.changes.push(Change::SetText(TextChange { item, text: text.into() }));
        self
    }

    /// Adds a message before the message `before`; the number of messages appends.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut decision = rust_proxy_sdk::Decision::unchanged();
    /// decision.insert(0, "system", "Be brief.");
    /// assert_eq!(decision.changes.len(), 1);
    /// ```
    pub fn insert(&mut self, before: u32, role: impl Into<String>, text: impl Into<String>) -> &mut Self {
        self.changes.push(Change::Insert(Insertion { before, role: role.into(), text: text.into() }));
        self
    }

    /// Removes a message. The host refuses to part tool calls from their results.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut decision = rust_proxy_sdk::Decision::unchanged();
    /// decision.drop_message(0);
    /// assert_eq!(decision.changes.len(), 1);
    /// ```
    pub fn drop_message(&mut self, message: u32) -> &mut Self {
        self.changes.push(Change::DropMessage(message));
        self
    }

    /// Asks another model of the gateway's configuration. The pipeline stays.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut decision = rust_proxy_sdk::Decision::unchanged();
    /// decision.route("small-model");
    /// assert_eq!(decision.route.as_deref(), Some("small-model"));
    /// ```
    pub fn route(&mut self, model: impl Into<String>) -> &mut Self {
        self.route = Some(model.into());
        self
    }

    /// Reports a span of an item: `rule` is the name of what was found, never the text itself.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut decision = rust_proxy_sdk::Decision::unchanged();
    /// decision.report(4, 0..6, "card-number");
    /// assert_eq!(decision.findings[0].lane, 4);
    /// ```
    pub fn report(&mut self, item: u32, span: Range<u32>, rule: impl Into<String>) -> &mut Self {
        self.findings.push(Finding { lane: item, start: span.start, end: span.end, rule: rule.into() });
        self
    }

    /// Refuses the request: `status` is from 400 to 499, `message` is short, safe to show, and says what the
    /// client can change.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut decision = rust_proxy_sdk::Decision::unchanged();
    /// decision.reject(400, "Leave out the card number.");
    /// assert!(decision.stop.is_some());
    /// ```
    pub fn reject(&mut self, status: u16, message: impl Into<String>) -> &mut Self {
        self.stop = Some(Stop::Reject(Rejection { status, message: message.into() }));
        self
    }

    /// Answers in the model's place.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut decision = rust_proxy_sdk::Decision::unchanged();
    /// decision.respond("pong");
    /// assert!(decision.stop.is_some());
    /// ```
    pub fn respond(&mut self, text: impl Into<String>) -> &mut Self {
        self.stop = Some(Stop::Respond(text.into()));
        self
    }
}

impl Default for Decision {
    fn default() -> Self {
        Self::unchanged()
    }
}

impl Item {
    /// The text of a `text`, `tool-argument` or `tool-result` item: those that [`Decision::set_text`] fits.
    ///
    /// # Examples
    ///
    /// ```
    /// use rust_proxy_sdk::{Body, Item};
    ///
    /// let item = |body| Item { id: 0, message: 0, role: "user".to_owned(), body };
    /// assert_eq!(item(Body::Text("hello".to_owned())).text(), Some("hello"));
    /// assert_eq!(item(Body::Opaque("image_url".to_owned())).text(), None);
    /// ```
    pub fn text(&self) -> Option<&str> {
        match &self.body {
            Body::Text(text) => Some(text),
            Body::ToolArgument(argument) => Some(&argument.text),
            Body::ToolResult(result) => Some(&result.text),
            Body::ToolCall(_) | Body::Opaque(_) => None,
        }
    }
}
