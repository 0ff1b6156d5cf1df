//! An answer as a client reads it: the text of each place, put together.

use std::collections::{BTreeMap, BTreeSet};

use crate::json::Json;
use crate::sse;

/// The fields of a delta or message that are texts.
const TEXT_FIELDS: [&str; 4] = ["reasoning_content", "reasoning", "content", "refusal"];

/// The place of a text: choice, field, and for the arguments of a tool call its index.
pub(crate) type Place = (u32, &'static str, u32);

/// What an answer says.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Without those that are empty.
    pub(crate) texts: BTreeMap<Place, String>,
    /// The arguments of tool calls, as they are put together.
    pub(crate) arguments: BTreeMap<Place, String>,
    /// All choices, and those with a finish reason.
    pub(crate) choices: BTreeSet<u32>,
    pub(crate) finished: BTreeSet<u32>,
    /// Blocks that a gateway passes on, as their lines.
    pub(crate) kept: Vec<String>,
    /// Tokens of log probabilities.
    pub(crate) tokens: Vec<String>,
    /// Whether text of a choice follows its finish reason; it is not among the texts.
    pub(crate) late: bool,
    /// Whether there is something that repeats or measures a text.
    pub(crate) repeats: bool,
    /// Whether a text stops within a surrogate pair.
    pub(crate) halved: bool,
    /// Whether there is something that is not in the dialect; what stands behind it was not read.
    pub(crate) broken: bool,
    /// Whether there is something that a client may read in more than one way; likewise.
    pub(crate) odd: bool,
    units: BTreeMap<Place, Vec<u16>>,
}

impl Answer {
    /// Reads a stream up to its terminal marker.
    pub(crate) fn of_stream(stream: &[u8]) -> Self {
        let mut answer = Self::default();
        let sse::Reading { blocks, error } = sse::read(stream);
        let mut begun = false;
        for block in blocks {
            let Some(data) = &block.data else {
                // Comments, of which none begins an answer.
                answer.kept.extend(begun.then_some(block.lines));
                continue;
            };
            if data.trim() == "[DONE]" {
                return answer.joined();
            }
            if block.name.as_deref() == Some("ping") || data.trim().is_empty() {
                continue;
            }
            match Json::parse(data) {
                Some(chunk) if chunk.get("choices").is_some() => {
                    if !chunk.get("choices").is_some_and(|choices| choices.list().is_empty())
                        || chunk.get("usage").is_some()
                    {
                        begun = true;
                        answer.kept.push(block.lines);
                    }
                    answer.read(&chunk, "delta");
                }
                _ => answer.broken = true,
            }
            if answer.broken || answer.odd {
                return answer.joined();
            }
        }
        answer.broken |= error.is_some();
        answer.joined()
    }

    /// Reads a whole answer.
    pub(crate) fn of_whole(body: &[u8]) -> Self {
        let mut answer = Self::default();
        match std::str::from_utf8(body).ok().and_then(Json::parse) {
            Some(body) => answer.read(&body, "message"),
            None => answer.broken = true,
        }
        answer.joined()
    }

    fn read(&mut self, chunk: &Json, of: &'static str) {
        for choice in chunk.get("choices").map(Json::list).unwrap_or_default() {
            let index = choice.get("index").map_or(Some(0), Json::number);
            let delta = choice.get("delta").or(choice.get("message"));
            let usual = choice.get(if of == "delta" { "message" } else { "delta" }).is_none();
            let objects =
                [Some(choice), delta].into_iter().flatten().all(|value| matches!(value, Json::Object(_)));
            let (Some(index), true, true) = (index, usual, objects) else {
                self.odd = true;
                return;
            };
            self.choices.insert(index);
            if let Some(delta) = delta {
                self.read_delta(index, delta);
            }
            let annotations =
                delta.and_then(|delta| delta.get("annotations").or(delta.get("reasoning_details")));
            self.repeats |= choice.get("logprobs").is_some() || annotations.is_some();
            let logprobs = choice.get("logprobs").and_then(|all| all.get("content"));
            let tokens = logprobs.map(Json::list).unwrap_or_default();
            self.tokens.extend(tokens.iter().filter_map(|token| token.get("token")?.text()));
            if choice.get("finish_reason").and_then(Json::units).is_some_and(|reason| !reason.is_empty()) {
                self.finished.insert(index);
            }
        }
    }

    fn read_delta(&mut self, choice: u32, delta: &Json) {
        for field in TEXT_FIELDS {
            if let Some(units) = delta.get(field).and_then(Json::units) {
                if self.finished.contains(&choice) {
                    self.late |= !units.is_empty();
                    continue;
                }
                self.halved |= units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit));
                self.units.entry((choice, field, 0)).or_default().extend(units);
            }
        }
        let calls = delta.get("tool_calls").map(Json::list).unwrap_or_default();
        for (call, at) in calls.iter().zip(0..) {
            let index = call.get("index").map_or(Some(at), Json::number);
            if let (Some(index), Some(function)) = (index, call.get("function")) {
                self.read_arguments((choice, "tool_calls", index), function);
            }
        }
        if let Some(function) = delta.get("function_call") {
            self.read_arguments((choice, "function_call", 0), function);
        }
    }

    fn read_arguments(&mut self, place: Place, function: &Json) {
        if let Some(units) = function.get("arguments").and_then(Json::units) {
            let all = self.units.entry(place).or_default();
            all.extend(units);
            let halved = units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit));
            self.halved |= halved || whole_escapes(all) < all.len();
        }
    }

    /// Puts the pieces together.
    fn joined(mut self) -> Self {
        for (place, units) in std::mem::take(&mut self.units) {
            let of = if TEXT_FIELDS.contains(&place.1) { &mut self.texts } else { &mut self.arguments };
            if !units.is_empty() {
                of.insert(place, String::from_utf16_lossy(&units));
            }
        }
        self
    }
}

/// How much of a piece of JSON stands before an escape, or a pair of them, that goes on behind it.
fn whole_escapes(units: &[u16]) -> usize {
    const BACKSLASH: u16 = b'\\' as u16;
    let tail = units.len().saturating_sub(6);
    let Some(at) = units[tail..].iter().rposition(|unit| *unit == BACKSLASH).map(|at| tail + at) else {
        return units.len();
    };
    let before = units[..at].iter().rev().take_while(|unit| **unit == BACKSLASH).count();
    let escape = String::from_utf16_lossy(&units[at + 1..]).to_ascii_lowercase();
    let goes_on = match escape.len() {
        0 => true,
        1..5 => escape.starts_with('u'),
        _ => ["ud8", "ud9", "uda", "udb"].iter().any(|high| escape.starts_with(high)),
    };
    if before % 2 == 0 && goes_on { at } else { units.len() }
}
