//! JSON as a client in JavaScript has it: texts are UTF-16, so halves of a surrogate pair may stand apart.

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    /// `null`, `true`, `false` or a number, as it is written.
    Plain(String),
    Text(Vec<u16>),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    /// Reads a text that is one value. Control characters within strings are let pass.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { rest: text };
        let value = reader.value()?;
        reader.space();
        reader.rest.is_empty().then_some(value)
    }

    /// A member that is not `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        let (_, value) = members.iter().rev().find(|(name, _)| name == key)?;
        (*value != Self::Plain("null".to_owned())).then_some(value)
    }

    pub(crate) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    pub(crate) fn units(&self) -> Option<&[u16]> {
        match self {
            Self::Text(units) => Some(units),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<String> {
        self.units().map(String::from_utf16_lossy)
    }

    pub(crate) fn number(&self) -> Option<u32> {
        match self {
            Self::Plain(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// With `change` made to each text that is a value.
    pub(crate) fn map(&self, change: &impl Fn(&str) -> String) -> Self {
        match self {
            Self::Plain(_) => self.clone(),
            Self::Text(units) => {
                Self::Text(change(&String::from_utf16_lossy(units)).encode_utf16().collect())
            }
            Self::List(list) => Self::List(list.iter().map(|value| value.map(change)).collect()),
            Self::Object(members) => {
                Self::Object(members.iter().map(|(key, value)| (key.clone(), value.map(change))).collect())
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn value(&mut self) -> Option<Json> {
        self.space();
        match self.rest.as_bytes().first()? {
            b'"' => self.string().map(Json::Text),
            b'[' => {
                let mut list = Vec::new();
                self.items("[", "]", |reader| {
                    list.push(reader.value()?);
                    Some(())
                })?;
                Some(Json::List(list))
            }
            b'{' => {
                let mut members = Vec::new();
                self.items("{", "}", |reader| {
                    reader.space();
                    let key = String::from_utf16_lossy(&reader.string()?);
                    reader.space();
                    reader.take(":")?;
                    members.push((key, reader.value()?));
                    Some(())
                })?;
                Some(Json::Object(members))
            }
            _ => {
                let end = self
                    .rest
                    .bytes()
                    .position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.'));
                let (plain, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                self.rest = rest;
                is_plain(plain).then(|| Json::Plain(plain.to_owned()))
            }
        }
    }

    fn items(
        &mut self,
        open: &str,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.take(open)?;
        self.space();
        if self.take(close).is_some() {
            return Some(());
        }
        loop {
            item(self)?;
            self.space();
            if self.take(close).is_some() {
                return Some(());
            }
            self.take(",")?;
        }
    }

    fn string(&mut self) -> Option<Vec<u16>> {
        self.take("\"")?;
        let mut units = Vec::new();
        loop {
            let end = self.rest.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
            let plain = &self.rest[..end];
            if plain.is_ascii() {
                units.extend(plain.bytes().map(u16::from));
            } else {
                units.extend(plain.encode_utf16());
            }
            let quote = self.rest.as_bytes()[end] == b'"';
            self.rest = &self.rest[end + 1..];
            if quote {
                return Some(units);
            }
            units.push(self.escape()?);
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Option<u16> {
        let kind = self.rest.chars().next()?;
        self.rest = &self.rest[kind.len_utf8()..];
        Some(match kind {
            'u' => {
                let digits =
                    self.rest.get(..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
                self.rest = &self.rest[4..];
                u16::from_str_radix(digits, 16).ok()?
            }
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            '"' | '\\' | '/' => kind as u16,
            _ => return None,
        })
    }
}

/// A text with each escape that is whole as what it stands for, wherever that is.
pub(crate) fn unescaped(text: &str) -> String {
    let (mut units, mut reader) = (Vec::new(), Reader { rest: text });
    while let Some(at) = reader.rest.find('\\') {
        let (plain, behind) = reader.rest.split_at(at);
        units.extend(plain.encode_utf16());
        reader.rest = &behind[1..];
        units.push(reader.escape().unwrap_or_else(|| {
            reader.rest = &behind[1..];
            u16::from(b'\\')
        }));
    }
    units.extend(reader.rest.encode_utf16());
    String::from_utf16_lossy(&units)
}

/// Whether a word is a number or a name of JSON.
fn is_plain(word: &str) -> bool {
    if matches!(word, "null" | "true" | "false") {
        return true;
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = word.strip_prefix('-').unwrap_or(word);
    let (number, exponent) = number.split_once(['e', 'E']).map_or((number, None), |(n, e)| (n, Some(e)));
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(n, f)| (n, Some(f)));
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

/// Writes a text between quotes.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\0'..='\x1f' => out += &format!("\\u{:04x}", c as u32),
            _ => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_a_client_reads_them() {
        let json = r#" {"a":[1.50e3, "\ud83d",{}] ,"b" : null, "c\n":"\ude00\u0041" , "d":true} "#;
        let value = Json::parse(json).unwrap();
        assert_eq!(value.get("a").unwrap().list()[0], Json::Plain("1.50e3".to_owned()));
        assert_eq!(value.get("a").unwrap().list()[1].units(), Some([0xd83d].as_slice()));
        assert_eq!(value.get("c\n").unwrap().units(), Some([0xde00, 0x41].as_slice()));
        assert_eq!(value.get("b"), None);
        for broken in
            ["", "{", "[1,]", "{\"a\"}", "01", "1.", "tru", "\"\\x\"", "\"\\u+123\"", "1 2", "-", "[1 2]"]
        {
            assert_eq!(Json::parse(broken), None, "{broken}");
        }
        let text = "a\"\\\n\u{1}é😀";
        assert_eq!(Json::parse(&quote(text)).unwrap().text().unwrap(), text);
        assert_eq!(unescaped(r#"{"\ud83d\ude00\\n\x\u00"#), "{\"😀\\n\\x\\u00");
    }
}
