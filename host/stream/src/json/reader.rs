//! A JSON text that arrives in pieces: which of its characters are the text of string values.
//!
//! A pushdown automaton over characters (RFC 8259), with some liberties: control characters may stand in a string
//! as they are, for models write them so; `NaN` and `Infinity` are numbers, for Python writes and reads them; and after the first character that is not JSON it takes all the rest as
//! plain text. It keeps no text but the keys on the way to the place where it is.

use super::{DEPTH_MAX, POINTERS_FREE, POINTERS_MAX, TooComplex, simple_escape};

/// What one character is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// Part of a key, a number, a literal, punctuation or whitespace.
    Structure,
    /// The quote that opens a string value.
    Open,
    /// The character, or the last one of the escape, that stands for this one: in a string value, or in the text
    /// behind what is JSON.
    Text(char),
    /// Part of an escape, in a string value, that is not whole.
    Part,
    /// The quote that closes a string value.
    Close,
    /// The first character that is not JSON; it and all that follows is text.
    NotJson,
}

/// What a character is, and what is known by it of those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Whether half a surrogate pair stood before it, in a string value, that is now known to be alone.
    pub(crate) lone: bool,
    pub(crate) token: Token,
}

/// A JSON text so far.
#[derive(Debug)]
pub(crate) struct Reader {
    state: State,
    /// The objects and lists that are open.
    open: Vec<Level>,
    /// The JSON pointer (RFC 6901) of the place.
    pointer: String,
    /// Bytes of pointers that there may still be.
    left: usize,
}

#[derive(Debug, Default)]
enum State {
    /// A value must follow.
    #[default]
    Value,
    /// A list was opened: a value, or its end.
    FirstValue,
    /// An object was opened: a key, or its end.
    FirstKey,
    /// A comma in an object was read: a key.
    NextKey,
    /// Within a key.
    Key(Text),
    /// Behind a key.
    Colon,
    /// Within a string value.
    String(Text),
    /// Within `true`, `false` or `null`: what is left of it.
    Word(&'static str),
    /// Within a number.
    Number(Number),
    /// Behind a value.
    After,
    /// Behind what is not JSON.
    Text,
}

#[derive(Debug)]
struct Level {
    /// Where its own name ends in the pointer.
    name_end: usize,
    /// The element's number, in a list.
    element: Option<u32>,
}

/// Where a number is: behind what its name says.
#[derive(Debug, Clone, Copy)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// A string on its way: the escape that it is in.
#[derive(Debug, Default, Clone, Copy)]
struct Text {
    escape: Escape,
    /// The first half of a surrogate pair.
    half: Option<u16>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Escape {
    #[default]
    None,
    Backslash,
    /// `\u`, with the value and the number of the digits so far.
    Unit(u16, u8),
}

/// What a character is within a string.
enum InText {
    Char(char),
    Part,
    End,
    Bad,
}

impl Default for Reader {
    fn default() -> Self {
        Self { state: State::default(), open: Vec::new(), pointer: String::new(), left: POINTERS_FREE }
    }
}

impl Reader {
    /// Takes the next character.
    ///
    /// # Errors
    /// [`TooComplex`]; the reader must not be used afterwards.
    pub(crate) fn push(&mut self, char: char) -> Result<Step, TooComplex> {
        self.left = self.left.saturating_add(POINTERS_MAX);
        let mut lone = false;
        let token = match &mut self.state {
            State::Text => Token::Text(char),
            State::String(text) => {
                let read;
                (lone, read) = text.push(char);
                match read {
                    InText::Char(char) => Token::Text(char),
                    InText::Part => Token::Part,
                    InText::End => {
                        self.state = State::After;
                        Token::Close
                    }
                    InText::Bad => self.not_json(),
                }
            }
            State::Key(text) => match text.push(char) {
                (lone, InText::Char(char)) => {
                    self.key(lone, Some(char))?;
                    Token::Structure
                }
                (lone, read) => {
                    self.key(lone, None)?;
                    match read {
                        InText::Bad => self.not_json(),
                        InText::End => self.goes_on(State::Colon),
                        _ => Token::Structure,
                    }
                }
            },
            _ => self.structure(char)?,
        };
        Ok(Step { lone, token })
    }

    /// The place of the string value that was opened last.
    pub(crate) fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Whether anything but whitespace has come.
    pub(crate) fn has_begun(&self) -> bool {
        !(matches!(self.state, State::Value) && self.open.is_empty())
    }

    /// Whether a whole JSON value is there, and nothing but whitespace behind it.
    pub(crate) fn is_complete(&self) -> bool {
        self.open.is_empty()
            && match self.state {
                State::After => true,
                State::Number(number) => number.may_end(),
                _ => false,
            }
    }

    /// Whether half a surrogate pair can follow: in a string, or behind what is JSON.
    pub(crate) fn may_have_half(&self) -> bool {
        match &self.state {
            State::String(text) | State::Key(text) => matches!(text.escape, Escape::None),
            state => matches!(state, State::Text),
        }
    }

    /// Whether an escape of a string value is not whole.
    pub(crate) fn is_in_escape(&self) -> bool {
        matches!(&self.state, State::String(text) if !matches!(text.escape, Escape::None))
    }

    /// Ends the text: whether half a surrogate pair stands alone at the end of an open string value.
    pub(crate) fn end(&mut self) -> bool {
        let lone = matches!(&self.state, State::String(text) if text.half.is_some());
        self.state = State::Text;
        lone
    }

    fn goes_on(&mut self, state: State) -> Token {
        self.state = state;
        Token::Structure
    }

    fn not_json(&mut self) -> Token {
        self.state = State::Text;
        Token::NotJson
    }

    fn structure(&mut self, char: char) -> Result<Token, TooComplex> {
        if let (State::Number(Number::Minus), 'I') = (&self.state, char) {
            return Ok(self.goes_on(State::Word("nfinity")));
        }
        if let State::Number(number) = self.state {
            if let Some(next) = number.push(char) {
                return Ok(self.goes_on(State::Number(next)));
            }
            if !number.may_end() {
                return Ok(self.not_json());
            }
            self.state = State::After;
        }
        if let State::Word(rest) = self.state {
            return Ok(match rest.strip_prefix(char) {
                Some("") => self.goes_on(State::After),
                Some(rest) => self.goes_on(State::Word(rest)),
                None => self.not_json(),
            });
        }
        if matches!(char, ' ' | '\t' | '\n' | '\r') {
            return Ok(Token::Structure);
        }
        match (&self.state, char) {
            (State::FirstValue, ']') => self.close(),
            (State::Value | State::FirstValue, '"') => return self.open_string(),
            (State::Value | State::FirstValue, '{') => self.open(None, State::FirstKey)?,
            (State::Value | State::FirstValue, '[') => {
                self.open(Some(0), State::FirstValue)?;
                self.name_element(0)?;
            }
            (State::Value | State::FirstValue, _) => match State::scalar(char) {
                Some(state) => self.state = state,
                None => return Ok(self.not_json()),
            },
            (State::FirstKey | State::NextKey, '"') => self.open_key()?,
            (State::Colon, ':') => self.state = State::Value,
            (State::After, ',') => return self.next_member(),
            (State::FirstKey, '}') => self.close(),
            (State::After, '}') if self.open.last().is_some_and(|level| level.element.is_none()) => {
                self.close()
            }
            (State::After, ']') if self.open.last().is_some_and(|level| level.element.is_some()) => {
                self.close()
            }
            _ => return Ok(self.not_json()),
        }
        Ok(Token::Structure)
    }

    fn open_string(&mut self) -> Result<Token, TooComplex> {
        self.spend(self.pointer.len())?;
        self.state = State::String(Text::default());
        Ok(Token::Open)
    }

    fn open(&mut self, element: Option<u32>, state: State) -> Result<(), TooComplex> {
        if self.open.len() == DEPTH_MAX {
            return Err(TooComplex);
        }
        self.open.push(Level { name_end: self.pointer.len(), element });
        self.state = state;
        Ok(())
    }

    fn close(&mut self) {
        if let Some(level) = self.open.pop() {
            self.pointer.truncate(level.name_end);
        }
        self.state = State::After;
    }

    fn next_member(&mut self) -> Result<Token, TooComplex> {
        let Some(level) = self.open.last_mut() else { return Ok(self.not_json()) };
        match &mut level.element {
            Some(element) => {
                *element = element.saturating_add(1);
                let element = *element;
                self.name_element(element)?;
                Ok(self.goes_on(State::Value))
            }
            None => Ok(self.goes_on(State::NextKey)),
        }
    }

    fn name_element(&mut self, element: u32) -> Result<(), TooComplex> {
        self.begin_name()?;
        self.add_to_name(&element.to_string())
    }

    fn open_key(&mut self) -> Result<(), TooComplex> {
        self.state = State::Key(Text::default());
        self.begin_name()
    }

    fn key(&mut self, lone: bool, char: Option<char>) -> Result<(), TooComplex> {
        for char in lone.then_some(char::REPLACEMENT_CHARACTER).into_iter().chain(char) {
            match char {
                '~' => self.add_to_name("~0"),
                '/' => self.add_to_name("~1"),
                char => self.add_to_name(char.encode_utf8(&mut [0; 4])),
            }?;
        }
        Ok(())
    }

    /// Begins the name of another member or element.
    fn begin_name(&mut self) -> Result<(), TooComplex> {
        let name_end = self.open.last().map_or(0, |level| level.name_end);
        self.pointer.truncate(name_end);
        self.add_to_name("/")
    }

    fn add_to_name(&mut self, part: &str) -> Result<(), TooComplex> {
        self.spend(part.len())?;
        self.pointer.push_str(part);
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), TooComplex> {
        self.left = self.left.checked_sub(bytes).ok_or(TooComplex)?;
        Ok(())
    }
}

impl State {
    /// The beginning of a number or a literal.
    fn scalar(char: char) -> Option<Self> {
        Some(match char {
            't' => Self::Word("rue"),
            'f' => Self::Word("alse"),
            'n' => Self::Word("ull"),
            // Not JSON, but Python's reader and others take them.
            'N' => Self::Word("aN"),
            'I' => Self::Word("nfinity"),
            '-' => Self::Number(Number::Minus),
            '0' => Self::Number(Number::Zero),
            '1'..='9' => Self::Number(Number::Integer),
            _ => return None,
        })
    }
}

impl Number {
    fn push(self, char: char) -> Option<Self> {
        Some(match (self, char) {
            (Self::Minus, '0') => Self::Zero,
            (Self::Minus, '1'..='9') | (Self::Integer, '0'..='9') => Self::Integer,
            (Self::Zero | Self::Integer, '.') => Self::Point,
            (Self::Point | Self::Fraction, '0'..='9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, 'e' | 'E') => Self::E,
            (Self::E, '+' | '-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, '0'..='9') => Self::Exponent,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Exponent)
    }
}

impl Text {
    /// What the next character is, and whether a half before it is now known to be alone.
    fn push(&mut self, char: char) -> (bool, InText) {
        match (self.escape, char) {
            (Escape::None, '\\') => {
                self.escape = Escape::Backslash;
                (false, InText::Part)
            }
            (Escape::None, '"') => (self.half.take().is_some(), InText::End),
            (Escape::None, char) => (self.half.take().is_some(), InText::Char(char)),
            (Escape::Backslash, 'u') => {
                self.escape = Escape::Unit(0, 0);
                (false, InText::Part)
            }
            (Escape::Backslash, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {
                self.escape = Escape::None;
                (self.half.take().is_some(), InText::Char(simple_escape(char)))
            }
            (Escape::Backslash, _) => (self.half.take().is_some(), InText::Bad),
            (Escape::Unit(value, digits), char) => match char.to_digit(16) {
                Some(digit) => self.digit(value, digits, digit),
                None => (self.half.take().is_some(), InText::Bad),
            },
        }
    }

    fn digit(&mut self, value: u16, digits: u8, digit: u32) -> (bool, InText) {
        // A hexadecimal digit fits, and so do four of them.
        let unit = (value << 4) | u16::try_from(digit).unwrap_or_default();
        if digits < 3 {
            self.escape = Escape::Unit(unit, digits + 1);
            return (false, InText::Part);
        }
        self.escape = Escape::None;
        match (self.half.take(), unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                let joined = char::decode_utf16([high, unit]).next().and_then(Result::ok);
                (false, InText::Char(joined.unwrap_or(char::REPLACEMENT_CHARACTER)))
            }
            (before, 0xd800..=0xdbff) => {
                self.half = Some(unit);
                (before.is_some(), InText::Part)
            }
            (before, unit) => {
                let char = char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
                (before.is_some(), InText::Char(char))
            }
        }
    }
}

#[cfg(test)]
mod tests;
