//! A linear look over the text before a tree is built of it.
//!
//! It bounds what the tree builder is given (depth, attributes), refuses document types, and checks the few things
//! that the tree builder lets pass but that would make a copied fragment ill-formed. What is not its affair (unclosed
//! tags, unknown entities, names) it leaves to the tree builder, which sees the same text next.

use memchr::{memchr, memchr2, memmem};

use crate::names::{is_ncname, is_qname, is_space, is_xml_char};
use crate::{DocumentLimits, Error};

/// Attributes (declarations of namespaces included) of one element, and prefixes in scope at one element. Duplicate
/// attributes are found by comparing each with each, so their number must have a bound of its own.
pub(crate) const ATTRIBUTES_MAX: usize = 128;

/// Checks encoding, depth, attributes, document type and character references.
pub(crate) fn check(text: &str, limits: &DocumentLimits) -> Result<(), Error> {
    encoding(text)?;
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(found) = text.as_bytes().get(at..).and_then(|rest| memchr2(b'<', b'&', rest)) {
        at += found;
        let rest = &text[at..];
        at += if rest.starts_with('&') {
            reference(text, at)?
        } else if rest.starts_with("<!--") {
            block(rest, 4, "-->")
        } else if rest.starts_with("<![CDATA[") {
            block(rest, 9, "]]>")
        } else if rest.starts_with("<?") {
            instruction(text, at)?
        } else if rest.starts_with("<!DOCTYPE") {
            return Err(Error::Dtd);
        } else if let Some(end_tag) = rest.strip_prefix("</") {
            depth = depth.saturating_sub(1);
            if !is_qname(name_at(end_tag)) {
                return Err(ill_formed(text, at, "not the name of an element"));
            }
            2
        } else {
            depth += 1;
            if depth > limits.depth_max {
                return Err(Error::TooDeep { max: limits.depth_max });
            }
            let (length, empty) = start_tag(text, at)?;
            depth -= usize::from(empty);
            length
        };
    }
    Ok(())
}

/// The encoding declaration, if there is one, must say UTF-8 or its subset.
fn encoding(text: &str) -> Result<(), Error> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let Some(declaration) = text.strip_prefix("<?xml").and_then(|rest| rest.split("?>").next()) else {
        return Ok(());
    };
    let Some((_, rest)) = declaration.split_once("encoding") else { return Ok(()) };
    let value = rest.trim_start_matches(|c| is_space(c) || c == '=');
    let value = value.split(['"', '\'']).nth(1).unwrap_or_default();
    if ["utf-8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known)) {
        Ok(())
    } else {
        Err(Error::NotUtf8 { encoding: Some(value.to_owned()) })
    }
}

/// Length of a comment, CDATA section or the like; all that is left if it does not end.
fn block(rest: &str, skip: usize, end: &str) -> usize {
    match rest.as_bytes().get(skip..).and_then(|inside| memmem::find(inside, end.as_bytes())) {
        Some(found) => skip + found + end.len(),
        None => rest.len(),
    }
}

/// Length of a processing instruction. XML 1.0 §2.6 reserves the target `xml`: it is the declaration, which is at the
/// start, after a byte order mark at most.
fn instruction(text: &str, at: usize) -> Result<usize, Error> {
    let rest = &text[at..];
    let is_reserved = rest.get(2..5).is_some_and(|target| target.eq_ignore_ascii_case("xml"))
        && rest.get(5..).is_some_and(|rest| rest.starts_with(|c| is_space(c) || c == '?'));
    if is_reserved && !matches!(&text[..at], "" | "\u{FEFF}") {
        return Err(ill_formed(text, at, "XML declaration behind the start of the document"));
    }
    let target = rest[2..].split(|c| is_space(c) || c == '?').next().unwrap_or_default();
    if !is_ncname(target) {
        return Err(ill_formed(text, at, "not the target of a processing instruction"));
    }
    Ok(block(rest, 2, "?>"))
}

/// Length of a reference. A character reference must name a character of XML 1.0 §2.2: so no control character can
/// reach a watcher by way of a copied fragment.
fn reference(text: &str, at: usize) -> Result<usize, Error> {
    let Some(number) = text[at..].strip_prefix("&#") else { return Ok(1) };
    let number = number.split(';').next().unwrap_or_default();
    let code = match number.strip_prefix('x') {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    if code.ok().and_then(char::from_u32).is_some_and(is_xml_char) {
        Ok(2)
    } else {
        Err(ill_formed(text, at, "reference to a character that XML does not allow"))
    }
}

/// The name that a text starts with.
pub(crate) fn name_at(text: &str) -> &str {
    text.split(|c| is_space(c) || matches!(c, '/' | '>')).next().unwrap_or_default()
}

/// Length of a start tag, and whether it is that of an empty element.
fn start_tag(text: &str, start: usize) -> Result<(usize, bool), Error> {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    let mut attributes = 0;
    let mut has_default = false;
    if !is_qname(name_at(&text[at..])) {
        return Err(ill_formed(text, start, "not the name of an element"));
    }
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'>' => return Ok((at + 1 - start, bytes.get(at - 1) == Some(&b'/'))),
            b'"' | b'\'' => {
                let Some(length) = bytes.get(at + 1..).and_then(|rest| memchr(byte, rest)) else { break };
                let end = at + 1 + length;
                attributes += 1;
                if attributes > ATTRIBUTES_MAX {
                    return Err(Error::TooManyAttributes { max: ATTRIBUTES_MAX });
                }
                let name = text[start..at].trim_end_matches(|c| is_space(c) || c == '=');
                let name = name.rsplit(is_space).next().unwrap_or_default();
                if !is_qname(name) {
                    return Err(ill_formed(text, at, "not the name of an attribute"));
                }
                if length == 0 && name.starts_with("xmlns:") {
                    return Err(ill_formed(text, at, "a prefix cannot be undeclared"));
                }
                if name == "xmlns" && std::mem::replace(&mut has_default, true) {
                    return Err(ill_formed(text, at, "two default namespaces"));
                }
                let mut inside = at + 1;
                while let Some(found) = memchr(b'&', &bytes[inside..end]) {
                    inside += found;
                    inside += reference(text, inside)?;
                }
                match bytes.get(end + 1) {
                    Some(b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'>') | None => at = end,
                    Some(_) => return Err(ill_formed(text, end + 1, "no space between attributes")),
                }
            }
            _ => {}
        }
        at += 1;
    }
    Ok((text.len() - start, false))
}

/// The prefixes that a start tag declares, `""` for the default namespace. The tag is known to be well-formed.
pub(crate) fn declarations(tag: &str) -> impl Iterator<Item = &str> {
    let mut rest = tag.trim_start_matches(|c| !is_space(c) && !matches!(c, '/' | '>'));
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches(is_space);
            if rest.starts_with(['>', '/']) {
                return None;
            }
            let equals = rest.find('=')?;
            let name = rest[..equals].trim_end_matches(is_space);
            let value = rest[equals + 1..].trim_start_matches(is_space);
            let quote = value.chars().next()?;
            let end = value.get(1..)?.find(quote)? + 2;
            rest = &value[end..];
            match name.strip_prefix("xmlns") {
                Some("") => return Some(""),
                Some(prefixed) if prefixed.starts_with(':') => return Some(&prefixed[1..]),
                _ => {}
            }
        }
    })
}

pub(crate) fn ill_formed(text: &str, at: usize, reason: &str) -> Error {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line_at = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Error::NotWellFormed {
        line: clip(line),
        column: clip(before.len() - line_at + 1),
        reason: reason.to_owned(),
    }
}
