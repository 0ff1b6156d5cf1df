//! The texts of a stream, put together.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A choice, and the field in which its text stands; for arguments of tools, `arguments/` and the call's index.
pub type Place = (u64, String);

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    index: u64,
    delta: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct Call {
    index: u64,
    function: BTreeMap<String, Box<RawValue>>,
}

/// What is said in each place of a stream whose lines end with LF; nothing for places without text.
///
/// Escapes are read when all of a text is there, since half a surrogate pair may stand in one event and the
/// other half in the next.
///
/// # Panics
/// Where an event with data is no chunk.
pub fn lanes(events: &str) -> BTreeMap<Place, String> {
    let mut inside: BTreeMap<Place, String> = BTreeMap::new();
    let data = events.lines().filter_map(|line| line.strip_prefix("data: "));
    for data in data.filter(|data| *data != "[DONE]") {
        let chunk: Chunk = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
        for Choice { index, delta } in chunk.choices {
            for (field, value) in &delta {
                match field.as_str() {
                    "content" | "reasoning_content" | "reasoning" | "refusal" => {
                        append(&mut inside, (index, field.clone()), value);
                    }
                    "tool_calls" => {
                        let calls: Vec<Call> = serde_json::from_str(value.get()).expect("a list of calls");
                        for Call { index: call, function } in calls {
                            let place = (index, format!("arguments/{call}"));
                            if let Some(value) = function.get("arguments") {
                                append(&mut inside, place, value);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    let text = |inside: String| serde_json::from_str(&format!("\"{inside}\"")).expect("whole escapes");
    inside.into_iter().map(|(place, inside)| (place, text(inside))).collect()
}

/// Adds the inside of a string literal that is not empty.
fn append(inside: &mut BTreeMap<Place, String>, place: Place, value: &RawValue) {
    let text = value.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    if !text.is_empty() {
        inside.entry(place).or_default().push_str(text);
    }
}
