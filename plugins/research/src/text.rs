//! ③ The readable text of a page.
//!
//! HTML is read as a row of tags, without a tree: time is linear in the page and nothing nests, so that no page can
//! overflow the stack. Navigation, footers, forms' controls, scripts and what is hidden are left out; where a page
//! has `<main>` or `<article>`, the text is what they hold. What comes out is text with Markdown's marks for
//! headings, lists and tables.

use std::borrow::Cow;
use std::ops::Range;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use html5gum::{DefaultEmitter, HtmlString, StartTag, Token, Tokenizer};

/// A text this long, in bytes, is an article: what was left out around it is not missed.
const ENOUGH: usize = 400;

/// Where a page is asked for its encoding: what browsers look at.
const PRESCAN: usize = 1024;

/// What a page says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentType {
    kind: Kind,
    charset: Option<&'static Encoding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Html,
    Plain,
}

impl ContentType {
    /// Reads a `content-type` header; nothing if it is not one of text.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split(';');
        let kind = match parts.next()?.trim().to_ascii_lowercase().as_str() {
            "text/html" | "application/xhtml+xml" => Kind::Html,
            "text/plain" | "application/json" => Kind::Plain,
            _ => return None,
        };
        let mut parameters = parts.filter_map(|part| part.split_once('='));
        let charset = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
        let charset =
            charset.and_then(|(_, label)| Encoding::for_label(label.trim().trim_matches('"').as_bytes()));
        Some(Self { kind, charset })
    }

    /// The text of a body.
    pub(crate) fn read(&self, body: &[u8]) -> String {
        let asked = || if self.kind == Kind::Html { meta_charset(body) } else { None };
        let guess = || if std::str::from_utf8(body).is_ok() { UTF_8 } else { WINDOWS_1252 };
        let (text, ..) = self.charset.or_else(asked).unwrap_or_else(guess).decode(body);
        match self.kind {
            Kind::Html => html(&text),
            Kind::Plain => text.into_owned(),
        }
    }
}

/// The encoding that a page's head names.
fn meta_charset(body: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(body.get(..PRESCAN).unwrap_or(body)).to_ascii_lowercase();
    let (_, label) = head.split_once("charset=")?;
    let label = label.trim_start_matches(['"', '\'']).split(['"', '\'', ';', '>', ' ', '/']).next()?;
    // A page that can be read so far is not in UTF-16, whatever it says.
    Encoding::for_label(label.as_bytes()).map(Encoding::output_encoding)
}

/// The readable text of an HTML page, its title first.
pub(crate) fn html(page: &str) -> String {
    let strict = Reader::read(page, true);
    let reader = if strict.text().len() >= ENOUGH {
        strict
    } else {
        // A page that is navigation for the most part, or never closes it.
        let loose = Reader::read(page, false);
        if strict.text().len() * 4 >= loose.text().len() { strict } else { loose }
    };
    let (title, text) = (reader.title.split_whitespace().collect::<Vec<_>>().join(" "), reader.text());
    match (title.as_str(), &*text) {
        ("", text) => text.to_owned(),
        (_, "") => String::new(),
        (title, text) => format!("{title}\n\n{text}"),
    }
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Reader {
    strict: bool,
    title: String,
    in_title: bool,
    out: String,
    /// The spans of `out` that are in `<main>` or `<article>`.
    articles: Vec<Range<usize>>,
    /// Where the open one begins.
    entered: usize,
    article_depth: u32,
    /// The element that is left out, and how many of its name are open.
    skipped: Option<(String, u32)>,
    /// Line ends before the next text.
    breaks: usize,
    /// White space before the next text.
    space: bool,
    /// What goes before the next text: the mark of a heading, list item or table cell.
    mark: String,
    /// The open lists; the number of the last item where they have numbers.
    lists: Vec<Option<u32>>,
    pre: u32,
    cells: u32,
}

impl Reader {
    fn read(page: &str, strict: bool) -> Self {
        let mut this = Self { strict, ..Self::default() };
        let mut emitter = DefaultEmitter::default();
        emitter.naively_switch_states(true);
        for Ok(token) in Tokenizer::new_with_emitter(page, emitter) {
            match token {
                Token::StartTag(tag) => this.start(&tag),
                Token::EndTag(tag) => this.end(&string(&tag.name)),
                Token::String(text) => this.text_token(&string(&text)),
                Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
            }
        }
        this.article_depth = this.article_depth.min(1);
        this.leave_article();
        this
    }

    /// What is in the page's articles, or all of it if that is too little.
    fn text(&self) -> Cow<'_, str> {
        let parts = self.articles.iter().filter_map(|span| self.out.get(span.clone()));
        let parts: Vec<_> =
            parts.map(|part| part.trim_matches('\n')).filter(|part| !part.is_empty()).collect();
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length >= ENOUGH || length * 2 >= self.out.len() && length > 0 {
            Cow::Owned(parts.join("\n\n"))
        } else {
            Cow::Borrowed(&self.out)
        }
    }

    fn start(&mut self, tag: &StartTag<()>) {
        let name = string(&tag.name);
        if let Some((skipped, open)) = &mut self.skipped {
            *open += u32::from(**skipped == *name);
            return;
        }
        let other_title = name == "title" && !self.title.is_empty();
        if other_title || !is_void(&name) && !tag.self_closing && self.leaves_out(&name, tag) {
            self.skipped = Some((name.into_owned(), 1));
            return;
        }
        match &*name {
            "title" => self.in_title = true,
            "main" | "article" => self.enter_article(),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.line(2);
                let level = name.bytes().last().map_or(1, |digit| usize::from(digit - b'0'));
                self.mark = format!("{} ", "#".repeat(level));
            }
            "ul" | "ol" | "menu" => {
                self.line(if self.lists.is_empty() { 2 } else { 1 });
                // Deeper lists look like the eighth: marks stay short.
                if self.lists.len() < 8 {
                    self.lists.push((&*name == "ol").then_some(0));
                }
            }
            "li" => {
                self.line(1);
                let indent = "  ".repeat(self.lists.len().saturating_sub(1));
                self.mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number = number.saturating_add(1);
                        format!("{indent}{number}. ")
                    }
                    _ => format!("{indent}- "),
                };
            }
            "tr" => {
                self.line(1);
                self.cells = 0;
            }
            "td" | "th" => {
                if self.cells > 0 {
                    self.mark.push_str(" | ");
                    self.space = false;
                }
                self.cells += 1;
            }
            "pre" => {
                self.line(2);
                self.pre += 1;
            }
            "br" => self.line(self.breaks + 1),
            name => self.border(name),
        }
    }

    fn end(&mut self, name: &str) {
        if let Some((skipped, open)) = &mut self.skipped {
            *open -= u32::from(skipped == name);
            if *open == 0 {
                self.skipped = None;
            }
            return;
        }
        match name {
            "title" => self.in_title = false,
            "main" | "article" => self.leave_article(),
            "ul" | "ol" | "menu" => {
                self.lists.pop();
                self.line(if self.lists.is_empty() { 2 } else { 1 });
            }
            "pre" => {
                self.line(2);
                self.pre = self.pre.saturating_sub(1);
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.line(2);
                self.mark.clear();
            }
            "li" | "tr" => {
                self.line(1);
                self.mark.clear();
            }
            name => self.border(name),
        }
    }

    fn border(&mut self, name: &str) {
        match name {
            // The paragraphs of a cell stay in its row.
            "p" | "div" if self.cells > 0 => self.space = true,
            "table" => {
                self.line(2);
                self.cells = 0;
            }
            "p" | "blockquote" | "dl" | "figure" | "section" | "hr" => self.line(2),
            "div" | "dt" | "dd" | "body" | "header" | "address" | "caption" | "figcaption" | "details"
            | "summary" | "fieldset" | "form" | "aside" | "nav" | "footer" | "thead" | "tbody" | "tfoot"
            | "option" => self.line(1),
            _ => {}
        }
    }

    fn enter_article(&mut self) {
        self.line(2);
        self.out.truncate(self.out.trim_end().len());
        if self.article_depth == 0 {
            self.entered = self.out.len();
        }
        self.article_depth += 1;
    }

    fn leave_article(&mut self) {
        self.line(2);
        if self.article_depth == 1 {
            self.articles.push(self.entered..self.out.len());
        }
        self.article_depth = self.article_depth.saturating_sub(1);
    }

    /// The next text begins a line, behind `breaks - 1` blank ones.
    fn line(&mut self, breaks: usize) {
        self.breaks = self.breaks.max(breaks.min(2));
        self.space = false;
    }

    fn text_token(&mut self, text: &str) {
        if self.in_title {
            self.title.push_str(text);
        } else if self.skipped.is_some() {
        } else if self.pre > 0 {
            for (index, line) in text.split('\n').enumerate() {
                if index > 0 {
                    self.out.extend(std::iter::repeat_n(
                        '\n',
                        usize::from(!self.out.is_empty() && self.breaks == 0),
                    ));
                }
                if !line.trim().is_empty() || self.breaks == 0 {
                    self.flush();
                    self.out.push_str(line);
                }
            }
        } else {
            for (index, word) in text.split(is_html_space).enumerate() {
                self.space |= index > 0;
                if !word.is_empty() {
                    self.flush();
                    self.out.push_str(word);
                }
            }
        }
    }

    /// Writes what goes before a text.
    fn flush(&mut self) {
        if self.breaks > 0 {
            let end = self.out.trim_end().len();
            self.out.truncate(end);
            if !self.out.is_empty() {
                self.out.extend(std::iter::repeat_n('\n', self.breaks));
            }
        } else if self.space && !self.out.is_empty() {
            self.out.push(' ');
        }
        self.out.push_str(&self.mark);
        self.mark.clear();
        (self.breaks, self.space) = (0, false);
    }

    /// Whether an element is not for readers, or, where strict, not what the page is about.
    fn leaves_out(&self, name: &str, tag: &StartTag<()>) -> bool {
        let attribute =
            |name: &str| tag.attributes.get(name.as_bytes()).map(|value| string(value).to_ascii_lowercase());
        match name {
            "script" | "style" | "noscript" | "template" | "svg" | "math" | "iframe" | "object"
            | "canvas" | "audio" | "video" | "button" | "select" | "textarea" | "dialog" => return true,
            "html" | "body" | "main" | "article" => return false,
            _ => {}
        }
        let hides = |style: String| {
            let style: String = style.split_whitespace().collect();
            style.contains("display:none") || style.contains("visibility:hidden")
        };
        if attribute("hidden").is_some_and(|value| value != "until-found")
            || attribute("aria-hidden").is_some_and(|value| value == "true")
            || attribute("style").is_some_and(hides)
        {
            return true;
        }
        if !self.strict {
            return false;
        }
        let aside = |role: String| {
            matches!(&*role, "navigation" | "banner" | "contentinfo" | "complementary" | "search" | "dialog")
        };
        let beside = |names: String| names.split_whitespace().any(is_beside);
        matches!(name, "nav" | "footer" | "aside")
            || name == "header" && self.article_depth == 0
            || attribute("role").is_some_and(aside)
            || attribute("id").is_some_and(beside)
            || attribute("class").is_some_and(beside)
    }
}

/// Whole names of classes and ids only: `has-sidebar` may be the class of all there is.
fn is_beside(name: &str) -> bool {
    matches!(
        name,
        "nav"
            | "navbar"
            | "navigation"
            | "top-nav"
            | "topnav"
            | "menu"
            | "footer"
            | "site-footer"
            | "page-footer"
            | "site-header"
            | "sidebar"
            | "breadcrumb"
            | "breadcrumbs"
            | "cookie-banner"
            | "cookie-consent"
            | "advertisement"
            | "ads"
            | "related"
            | "share"
            | "social"
            | "newsletter"
            | "popup"
            | "modal"
    )
}

fn is_void(name: &str) -> bool {
    matches!(
        name,
        "area"
            | "base"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "source"
            | "track"
            | "wbr"
    )
}

/// Not Unicode's: a no-break space is a character of the text.
const fn is_html_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

fn string(bytes: &HtmlString) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{ContentType, html};

    #[test]
    fn an_article_is_what_its_page_is_about() {
        assert_eq!(
            html(include_str!("../tests/pages/article.html")),
            include_str!("../tests/pages/article.txt").trim_end()
        );
    }

    #[test]
    fn a_chinese_page_is_read() {
        assert_eq!(
            html(include_str!("../tests/pages/chinese.html")),
            include_str!("../tests/pages/chinese.txt").trim_end()
        );
    }

    #[test]
    fn tables_and_lists_keep_their_shape() {
        assert_eq!(
            html(include_str!("../tests/pages/tables.html")),
            include_str!("../tests/pages/tables.txt").trim_end()
        );
    }

    #[test]
    fn odd_pages_have_their_text() {
        for (page, text) in [
            ("", ""),
            ("<title>only this</title>", ""),
            ("plain", "plain"),
            ("a &amp; b&nbsp;&lt;c&gt; &#x8336;", "a & b\u{a0}<c> 茶"),
            ("<p>one<p>two<br>three<br><br>four", "one\n\ntwo\nthree\n\nfour"),
            ("a<b>b</b>c <i> d </i>e", "abc d e"),
            ("<nav><a>never closed</a><p>text", "never closed\n\ntext"),
            ("<svg><title>no</title></svg><title> T\n t </title>x<title>other</title>", "T t\n\nx"),
            ("<div hidden>a</div><p style='DISPLAY : none'>b</p><p aria-hidden=true>c</p>d", "d"),
            ("<div class=sidebar>a<div>b</div>c</div>d eeeeeeeee", "d eeeeeeeee"),
            ("</li></ul></article></pre>a<li>b", "a\n- b"),
            ("<pre>\n  a\n\n b</pre>c", "  a\n\n b\n\nc"),
        ] {
            assert_eq!(html(page), text, "{page}");
        }
    }

    #[test]
    fn hostile_pages_take_linear_time_and_no_stack() {
        let begun = Instant::now();
        for tag in [
            "<div>",
            "<p><b>",
            "<ul><li>x",
            "<table><tr><td>x",
            "<nav>",
            "<article>x</p>",
            "x<br>",
            "<pre>\n",
            "&#",
            "<a b=c ",
        ] {
            html(&tag.repeat((1 << 18) / tag.len()));
        }
        // A debug build needs about two seconds for all of them.
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }

    #[test]
    fn bodies_are_decoded_as_they_say() {
        let read = |header: &str, body: &[u8]| ContentType::parse(header).map(|kind| kind.read(body));
        let gbk = b"\xb2\xe8";
        for (header, body, text) in [
            ("text/plain", "茶".as_bytes(), Some("茶")),
            ("Text/Plain; charset=GBK", gbk, Some("茶")),
            ("text/html; charset=\"gb2312\"", gbk, Some("茶")),
            ("text/html", b"<meta charset='gbk'>\xb2\xe8", Some("茶")),
            (
                "text/html",
                b"<meta http-equiv=Content-Type content=\"text/html; charset=gbk\">\xb2\xe8",
                Some("茶"),
            ),
            ("text/plain", b"caf\xe9", Some("café")),
            ("text/plain; charset=nonsense", b"x", Some("x")),
            ("application/json", b"{\"a\": \"<b>\"}", Some("{\"a\": \"<b>\"}")),
            ("application/xhtml+xml", b"<p>a</p>", Some("a")),
            ("image/png", b"x", None),
            ("", b"x", None),
        ] {
            assert_eq!(read(header, body).as_deref(), text, "{header}");
        }
    }
}
