//! Reads the dialect (§6.2), which only looks like XML: no references, prologs or namespaces, names in any case.
//!
//! An element is read where it lies; nothing is built. Each level is scanned once more for every level above it, which the
//! bound on their number keeps cheap.

use memchr::memchr;
use memchr::memmem::find;

use crate::ReadError;
use crate::text::{is_white_space, trim_start};

/// Levels of a message, unknown elements included; repro writes three.
const DEPTH_MAX: usize = 16;

/// One element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    name: &'a [u8],
    attributes: &'a [u8],
    content: &'a [u8],
}

impl<'a> Element<'a> {
    /// The outermost element of a message, which begins with it.
    pub(crate) fn root(octets: &'a [u8]) -> Result<Self, ReadError> {
        let mut children = Self { name: b"", attributes: b"", content: octets }.children();
        children.next().unwrap_or(Err(ReadError::expected("an element")))
    }

    /// Whether it has this name, in any case.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// What it is called, for a `match` over names in lower case.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(self.name).to_ascii_lowercase()
    }

    /// Its text, as it is escaped, without the white space before it; `None` if there is none.
    pub(crate) fn text(&self) -> Option<&'a [u8]> {
        let text = trim_start(self.content);
        let end = memchr(b'<', text).unwrap_or(text.len());
        text.get(..end).filter(|text| !text.is_empty())
    }

    /// The elements in it, in order. After an error there are no more.
    pub(crate) fn children(&self) -> Children<'a> {
        Children { rest: self.content }
    }

    /// The first element in it of this name.
    pub(crate) fn child(&self, name: &str) -> Result<Option<Self>, ReadError> {
        self.children().find(|child| !matches!(child, Ok(child) if !child.is(name))).transpose()
    }

    /// The value of an attribute, as it is written; `None` if there is none.
    pub(crate) fn attribute(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.attributes;
        loop {
            let equals = memchr(b'=', rest)?;
            let key = trim_start(rest.get(..equals)?).trim_ascii_end();
            let (&quote, value) = trim_start(rest.get(equals + 1..)?).split_first()?;
            let end = memchr(quote, value).filter(|_| matches!(quote, b'"' | b'\''))?;
            if key.eq_ignore_ascii_case(name.as_bytes()) {
                return value.get(..end);
            }
            rest = value.get(end + 1..)?;
        }
    }
}

/// See [`Element::children`].
#[derive(Debug)]
pub(crate) struct Children<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Children<'a> {
    type Item = Result<Element<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let child = self.read().transpose();
        if matches!(child, None | Some(Err(_))) {
            self.rest = &[];
        }
        child
    }
}

impl<'a> Children<'a> {
    fn read(&mut self) -> Result<Option<Element<'a>>, ReadError> {
        loop {
            match Tag::next(&mut self.rest)? {
                None => return Ok(None),
                Some(Tag::Comment) => {}
                Some(Tag::Close { .. }) => return Err(ReadError::expected("an element, not the end of one")),
                Some(Tag::Open { name, attributes, is_empty }) => {
                    let content = if is_empty { &[][..] } else { skip_to_end(&mut self.rest, name)? };
                    return Ok(Some(Element { name, attributes, content }));
                }
            }
        }
    }
}

/// Goes behind the end of the element that was just opened, and returns what is in it.
fn skip_to_end<'a>(rest: &mut &'a [u8], name: &'a [u8]) -> Result<&'a [u8], ReadError> {
    let content = *rest;
    let mut open = vec![name];
    loop {
        let before = rest.len();
        // What is between two tags lies before the second.
        let text = memchr(b'<', rest).unwrap_or(before);
        match Tag::next(rest)?.ok_or(ReadError::expected("the end of an element"))? {
            Tag::Comment | Tag::Open { is_empty: true, .. } => {}
            Tag::Open { name, .. } if open.len() < DEPTH_MAX => open.push(name),
            Tag::Open { .. } => return Err(ReadError::TooDeep { depth_max: DEPTH_MAX }),
            Tag::Close { name } => {
                // As repro does, which compares no more than the name that it expects.
                if !open.pop().is_some_and(|expected| name.starts_with(expected)) {
                    return Err(ReadError::expected("the end of the element that was opened last"));
                }
                if open.is_empty() {
                    let end = content.len() - before + text;
                    return Ok(content.get(..end).unwrap_or_default());
                }
            }
        }
    }
}

enum Tag<'a> {
    Open { name: &'a [u8], attributes: &'a [u8], is_empty: bool },
    Close { name: &'a [u8] },
    Comment,
}

impl<'a> Tag<'a> {
    /// The next tag, whatever text stands before it.
    fn next(rest: &mut &'a [u8]) -> Result<Option<Self>, ReadError> {
        let Some(inside) = memchr(b'<', rest).and_then(|at| rest.get(at + 1..)) else { return Ok(None) };
        if let Some(comment) = inside.strip_prefix(b"!--") {
            let end = find(comment, b"-->").ok_or(ReadError::expected("the end of a comment"))?;
            *rest = comment.get(end + 3..).unwrap_or_default();
            return Ok(Some(Self::Comment));
        }
        let end = memchr(b'>', inside).ok_or(ReadError::expected("the end of a tag"))?;
        *rest = inside.get(end + 1..).unwrap_or_default();
        let tag = inside.get(..end).unwrap_or_default();
        if let Some(name) = tag.strip_prefix(b"/") {
            return Ok(Some(Self::Close { name }));
        }
        let (tag, is_empty) = tag.strip_suffix(b"/").map_or((tag, false), |tag| (tag, true));
        let name_bytes = tag.iter().position(|&octet| is_white_space(octet)).unwrap_or(tag.len());
        let (name, attributes) = tag.split_at_checked(name_bytes).unwrap_or((tag, &[]));
        if name.is_empty() {
            return Err(ReadError::expected("the name of an element"));
        }
        Ok(Some(Self::Open { name, attributes, is_empty }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(octets: &[u8]) -> Result<String, ReadError> {
        let root = Element::root(octets)?;
        let children: Result<Vec<_>, _> = root.children().collect();
        let lines = children?.into_iter().map(|child| {
            format!(" {}={}", child.name(), String::from_utf8_lossy(child.text().unwrap_or_default()))
        });
        Ok(root.name() + &lines.collect::<String>())
    }

    #[test]
    fn elements_are_read_as_leniently_as_repro_does() {
        for (octets, expected) in [
            ("<a><b>1</b><c>2</c></a>", "a b=1 c=2"),
            ("<A>\r\n   <Bee> \r\n 1 x </Bee>\r\n</A>\r\n", "a bee=1 x "),
            ("<a><b/><c x='1'/><d x=\"1\">2</d></a>", "a b= c= d=2"),
            ("<a>junk<b>1<n>2<n>3</n></n>4</b>junk</a>", "a b=1"),
            ("<a><!-- <b>0</b> --><b>1</b ></a>", "a b=1"),
            ("<a></a>", "a"),
            ("<a/>", "a"),
        ] {
            assert_eq!(outline(octets.as_bytes()).as_deref(), Ok(expected), "{octets}");
        }
    }

    #[test]
    fn what_is_not_the_dialect_is_an_error() {
        for octets in
            ["", "text", "<a>", "<a><b></a>", "<a></b></a>", "</a>", "<a><></></a>", "<a><!-- </a>", "<a"]
        {
            assert!(outline(octets.as_bytes()).is_err(), "{octets}");
        }
        let deep = "<x>".repeat(17) + &"</x>".repeat(17);
        assert_eq!(outline(deep.as_bytes()), Err(ReadError::TooDeep { depth_max: 16 }));
    }

    #[test]
    fn attributes() {
        let root =
            Element::root(b"<Result a = 'x y'  Code=\"200\"  broken>text</Result>").expect("an element");
        assert_eq!(root.attribute("code"), Some(&b"200"[..]));
        assert_eq!(root.attribute("A"), Some(&b"x y"[..]));
        assert_eq!(root.attribute("broken"), None);
    }
}
