//! An answer as a client reads it: the text of each place, put together, and what is said of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::arguments;
use crate::json::{self, Json};
use crate::sse;

/// The fields of a delta or message that are texts.
const TEXT_FIELDS: [&str; 4] = ["reasoning_content", "reasoning", "content", "refusal"];

/// The most bytes of a character that is not whole.
const CHARACTER_REST: usize = 3;

/// The place of a text: choice, field, and for tool calls and reasoning details their number.
pub(crate) type Place = (u32, &'static str, u32);

/// What an answer says.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Without those that are empty.
    pub(crate) texts: BTreeMap<Place, String>,
    /// The arguments of tool calls: what calls of the same number say, one behind the other.
    pub(crate) arguments: BTreeMap<Place, Vec<String>>,
    /// Titles of citations, each a text.
    pub(crate) titles: Vec<(u32, String)>,
    /// What is true of a text as it came, and up to where.
    pub(crate) notes: Vec<(Place, usize, Json)>,
    pub(crate) tokens: Vec<Token>,
    /// Whether there are tokens that were not taken.
    pub(crate) others: bool,
    /// All choices, and those with a finish reason.
    pub(crate) choices: BTreeSet<u32>,
    pub(crate) finished: BTreeSet<u32>,
    /// Blocks that a gateway passes on.
    pub(crate) kept: Vec<Kept>,
    /// Whether text of a choice follows its finish reason.
    pub(crate) late: bool,
    /// Whether there is something that is not in the dialect; what stands behind it was not read.
    pub(crate) broken: bool,
    /// Whether there is something that a client may read in more than one way; likewise.
    pub(crate) odd: bool,
    /// Whether only its blocks are of interest.
    unread: bool,
    /// The texts of the last block.
    literals: usize,
    /// Whether its tokens tell of a character that is not whole.
    ahead: bool,
    pieces: BTreeMap<Place, Pieces>,
}

/// A token of log probabilities.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) place: Place,
    /// Its bytes in the text.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether it ends behind the text so far.
    pub(crate) ahead: bool,
    /// Whether it fits the text, as all before it do.
    pub(crate) fits: bool,
    /// All of it but the tokens that were not taken.
    pub(crate) entry: Json,
}

/// A block that a gateway passes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its lines, or what of its JSON links cannot leave out.
    pub(crate) says: String,
    /// Where it has text.
    pub(crate) places: Vec<Place>,
    /// Whether it has log probabilities, and says nothing else.
    pub(crate) bare: bool,
    /// Whether it has texts in several places, and one of them shares a character with another block.
    pub(crate) parted: bool,
}

/// The pieces of a text.
#[derive(Debug, Default)]
struct Pieces {
    units: Vec<u16>,
    /// Where another call of the same number begins, and the number's call now.
    calls: Vec<usize>,
    id: Option<String>,
    /// The tokens' bytes, and whether one did not fit.
    counted: usize,
    misfits: bool,
    /// The last block that ends within a character, if it is the last one with a piece.
    within: Option<usize>,
}

impl Pieces {
    /// The bytes of whole characters.
    fn bytes(&self) -> usize {
        String::from_utf16_lossy(&self.units[..self.units.len() - usize::from(self.is_half())]).len()
    }

    fn is_half(&self) -> bool {
        self.units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit))
    }

    fn call(&self) -> String {
        String::from_utf16_lossy(&self.units[self.calls.last().copied().unwrap_or(0)..])
    }

    fn fits(&self) -> bool {
        (self.bytes()..=self.bytes() + CHARACTER_REST).contains(&self.counted)
    }
}

fn is_arguments(place: Place) -> bool {
    matches!(place.1, "tool_calls" | "function_call")
}

impl Answer {
    /// The blocks of a stream that a gateway passes on, whatever their texts are.
    pub(crate) fn of_blocks(stream: &[u8]) -> Vec<String> {
        let answer = Self { unread: true, ..Self::default() }.with_stream(stream);
        answer.kept.into_iter().map(|kept| kept.says).collect()
    }

    /// Reads a stream up to its terminal marker.
    pub(crate) fn of_stream(stream: &[u8]) -> Self {
        Self::default().with_stream(stream)
    }

    fn with_stream(self, stream: &[u8]) -> Self {
        let mut answer = self;
        let sse::Reading { blocks, error } = sse::read(stream);
        let mut begun = false;
        for block in blocks {
            let Some(data) = &block.data else {
                // Comments, of which none begins an answer.
                answer.kept.extend(begun.then_some(Kept::new(block.lines)));
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
                        answer.kept.push(Kept::new(block.lines));
                    }
                    answer.read(&chunk, Some(data));
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
            Some(body) => answer.read(&body, None),
            None => answer.broken = true,
        }
        answer.joined()
    }

    /// Whether a link that only looks leaves it byte for byte: tokens may be left out.
    pub(crate) fn passes_whole(&self) -> bool {
        !self.others
            && !self.odd
            && self.tokens.iter().all(|token| token.fits && token.end <= self.length(token.place))
    }

    fn length(&self, place: Place) -> usize {
        self.texts.get(&place).map_or(0, String::len)
    }

    /// Reads a chunk with its data, or a whole answer.
    fn read(&mut self, chunk: &Json, data: Option<&str>) {
        if self.unread {
            return;
        }
        let mut touched = BTreeSet::new();
        (self.literals, self.ahead) = (0, false);
        let mut logprobs = false;
        for choice in chunk.get("choices").map(Json::list).unwrap_or_default() {
            let index = choice.get("index").map_or(Some(0), Json::number);
            let delta = choice.get("delta").or(choice.get("message"));
            let usual = choice.get(if data.is_some() { "message" } else { "delta" }).is_none();
            let objects =
                [Some(choice), delta].into_iter().flatten().all(|value| matches!(value, Json::Object(_)));
            let (Some(index), true, true) = (index, usual, objects) else {
                self.odd = true;
                return;
            };
            self.choices.insert(index);
            let before: Vec<(Place, usize)> =
                self.pieces.iter().map(|(place, pieces)| (*place, pieces.units.len())).collect();
            if let Some(delta) = delta {
                self.read_delta(index, delta);
            }
            let grown = self.pieces.iter().filter(|(place, pieces)| {
                let length =
                    before.iter().find(|(known, _)| known == *place).map_or(0, |(_, length)| *length);
                pieces.units.len() > length
            });
            touched.extend(grown.map(|(place, _)| *place));
            logprobs |= choice.has("logprobs");
            if let Some(value) = choice.get("logprobs") {
                self.read_tokens(index, value);
            }
            if choice.get("finish_reason").and_then(Json::units).is_some_and(|reason| !reason.is_empty()) {
                self.finished.insert(index);
            }
        }
        if data.is_some() && !self.odd && chunk.get("choices").is_some_and(|all| !all.list().is_empty()) {
            self.note_kept(chunk, touched, data.filter(|_| logprobs));
        }
    }

    /// Notes what the last block has.
    fn note_kept(&mut self, chunk: &Json, touched: BTreeSet<Place>, logprobs: Option<&str>) {
        let Some((at, last)) = self.kept.iter_mut().enumerate().next_back() else { return };
        if let Some(data) = logprobs {
            last.bare = !chunk.says_more();
            last.says = json::without_values(data, "\"logprobs\"");
        }
        let several = self.literals > 1;
        // A text that stands in it twice may share a character with itself.
        self.kept[at].parted |= (self.ahead && several) || self.literals > touched.len();
        for place in &touched {
            let pieces = self.pieces.get_mut(place).expect("it has grown");
            let within = pieces.is_half()
                || (is_arguments(*place)
                    && arguments::read(&pieces.call()).is_some_and(|(_, within)| within));
            let before = pieces.within.take();
            pieces.within = within.then_some(at);
            if let Some(before) = before {
                // What shares a character with one that is parted is written anew like it.
                let parted = several || self.kept[before].parted;
                self.kept[before].parted |= parted;
                self.kept[at].parted |= parted;
            }
            self.kept[at].parted |= within && several;
        }
        self.kept[at].places = touched.into_iter().collect();
    }

    fn read_delta(&mut self, choice: u32, delta: &Json) {
        for field in TEXT_FIELDS {
            self.add((choice, field, 0), delta.get(field));
        }
        let details = delta.get("reasoning_details").map(Json::list).unwrap_or_default();
        for (detail, at) in details.iter().zip(0..) {
            let Some(entry) = detail.get("index").map_or(Some(at), Json::number) else { continue };
            self.add((choice, "details.text", entry), detail.get("text"));
            self.add((choice, "details.summary", entry), detail.get("summary"));
        }
        for (detail, at) in details.iter().zip(0..) {
            let Some(entry) = detail.get("index").map_or(Some(at), Json::number) else { continue };
            self.note((choice, "details.text", entry), detail.get("signature").cloned());
        }
        self.add((choice, "audio", 0), delta.get("audio").and_then(|audio| audio.get("transcript")));
        let citations = delta.get("annotations").map(Json::list).unwrap_or_default();
        let titles =
            citations.iter().filter_map(|citation| citation.get("url_citation")?.get("title")?.text());
        self.literals += citations.len();
        self.titles.extend(titles.filter(|title| !title.is_empty()).map(|title| (choice, title)));
        let note = (!citations.is_empty()).then(|| Json::List(citations.to_vec()).without(&["title"]));
        self.note((choice, "content", 0), note);
        let calls = delta.get("tool_calls").map(Json::list).unwrap_or_default();
        for (call, at) in calls.iter().zip(0..) {
            let Some(index) = call.get("index").map_or(Some(at), Json::number) else { continue };
            if let Some(custom) = call.get("custom") {
                self.add((choice, "custom", index), custom.get("input"));
            }
            let place = (choice, "tool_calls", index);
            self.begin_call(place, call.get("id").and_then(Json::text));
            self.add(place, call.get("function").and_then(|function| function.get("arguments")));
        }
        let function = delta.get("function_call");
        self.add((choice, "function_call", 0), function.and_then(|function| function.get("arguments")));
    }

    fn add(&mut self, place: Place, value: Option<&Json>) {
        let Some(units) = value.and_then(Json::units) else { return };
        self.late |= !units.is_empty() && self.finished.contains(&place.0);
        self.literals += usize::from(!units.is_empty());
        self.pieces.entry(place).or_default().units.extend(units);
    }

    /// Another id behind whole arguments is another call.
    fn begin_call(&mut self, place: Place, id: Option<String>) {
        let Some(id) = id.filter(|id| !id.is_empty()) else { return };
        let pieces = self.pieces.entry(place).or_default();
        let another = pieces.id.replace(id.clone()).is_some_and(|known| known != id);
        if another && Json::parse(&pieces.call()).is_some() {
            pieces.calls.push(pieces.units.len());
        } else {
            // Whose the text is nobody knows.
            self.odd |= another && !pieces.units.is_empty();
        }
    }

    fn note(&mut self, place: Place, what: Option<Json>) {
        let end = self.pieces.get(&place).map_or(0, Pieces::bytes);
        self.notes.extend(what.map(|what| (place, end, what)));
    }

    fn read_tokens(&mut self, choice: u32, logprobs: &Json) {
        let Json::Object(members) = logprobs else { return };
        self.odd |= members.iter().any(|(name, value)| {
            !matches!(name.as_str(), "content" | "refusal")
                || members.iter().filter(|(key, _)| key == name).count() > 1
                || !matches!(value, Json::List(_) | Json::Plain(_))
        });
        let first = self.tokens.len();
        let mut fit = true;
        for field in ["content", "refusal"] {
            let place = (choice, field, 0);
            let entries = logprobs.get(field).map(Json::list).unwrap_or_default();
            let pieces = self.pieces.entry(place).or_default();
            for entry in entries {
                let length = match entry.get("bytes") {
                    Some(Json::List(bytes)) => Some(bytes.len()),
                    None => entry.get("token").and_then(Json::text).map(|token| token.len()),
                    Some(_) => None,
                };
                self.odd |= length.is_none() || entry.has_twins();
                let start = pieces.counted;
                pieces.counted += length.unwrap_or(0);
                let others = entry.get("top_logprobs");
                self.others |= others.is_some_and(|others| *others != Json::List(Vec::new()));
                let entry = entry.without(&["top_logprobs"]);
                let end = pieces.counted;
                self.tokens.push(Token { place, start, end, ahead: end > pieces.bytes(), fits: true, entry });
            }
            pieces.misfits |= !pieces.fits();
            self.ahead |= pieces.counted > pieces.bytes();
            fit &= entries.is_empty() || !pieces.misfits;
        }
        self.tokens[first..].iter_mut().for_each(|token| token.fits = fit);
    }

    /// Puts the pieces together.
    fn joined(mut self) -> Self {
        for (place, pieces) in std::mem::take(&mut self.pieces) {
            if pieces.units.is_empty() {
                continue;
            }
            if is_arguments(place) {
                let starts = std::iter::once(0).chain(pieces.calls.iter().copied());
                let ends = pieces.calls.iter().copied().chain([pieces.units.len()]);
                let calls =
                    starts.zip(ends).map(|(start, end)| String::from_utf16_lossy(&pieces.units[start..end]));
                self.arguments.insert(place, calls.collect());
            } else {
                self.texts.insert(place, String::from_utf16_lossy(&pieces.units));
            }
        }
        self
    }
}

impl Kept {
    fn new(lines: String) -> Self {
        Self { says: lines, places: Vec::new(), bare: false, parted: false }
    }
}
