//! What is taken as a presence document and what is refused (RFC 3863 §4.1, RFC 4479 §5, RFC 3903 §6 step 5).

mod support;

use presence_doc::{Document, DocumentLimits, Error};
use support::{examples, parse, pidf};

fn refused(body: impl AsRef<[u8]>) -> Error {
    let body = body.as_ref();
    match Document::parse(body, &DocumentLimits::default()) {
        Err(e) => e,
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(body)),
    }
}

#[test]
fn documents_printed_in_rfcs() {
    for (name, body) in examples("rfc").into_iter().chain(examples("rfc-invalid")) {
        match name.as_str() {
            // No entity, though RFC 3863 §4.1.1 says MUST.
            "rfc4479-s7.1-01-presence" => assert_eq!(refused(&body), Error::NoEntity),
            // An end tag of another name.
            "rfc4482-s4-01-presence" => {
                assert!(matches!(refused(&body), Error::NotWellFormed { line: 16, .. }))
            }
            _ => accepted(&name, &body),
        }
    }
}

fn accepted(name: &str, body: &[u8]) {
    let document = parse(body);
    assert!(document.entity().contains(':'), "{name}: {}", document.entity());
    assert_eq!(document.bytes(), body, "{name}");
}

#[test]
fn entity_as_it_was_written() {
    let document =
        parse("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity=' pres:al&#105;ce@EXAMPLE.com '/>");
    assert_eq!(document.entity(), "pres:alice@EXAMPLE.com");
}

#[test]
fn not_a_presence_document() {
    let wrong = |body: &str| matches!(refused(body), Error::WrongRoot { .. });
    assert!(wrong("<presence entity='sip:a@b'/>"));
    assert!(wrong("<presence xmlns='URN:ietf:params:xml:ns:pidf' entity='sip:a@b'/>"));
    assert!(wrong("<tuple xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'/>"));
    assert!(wrong("<watcherinfo xmlns='urn:ietf:params:xml:ns:watcherinfo'/>"));
    assert_eq!(refused("<presence xmlns='urn:ietf:params:xml:ns:pidf'/>"), Error::NoEntity);
    assert_eq!(refused("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity=' '/>"), Error::NoEntity);
    let foreign = "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:x='u' x:entity='sip:a@b'/>";
    assert_eq!(refused(foreign), Error::NoEntity);
}

#[test]
fn not_well_formed() {
    for inside in [
        "<note>a</not>",
        "<note>a",
        "<note a=1>a</note>",
        "<note a='1' a='2'>a</note>",
        "<note a='1'b='2'>a</note>",
        "<note>&nbsp;</note>",
        "<note>&#0;</note>",
        "<note>&#xB;</note>",
        "<note>&#xFFFE;</note>",
        "<note>\u{1}</note>",
        "<q:note>a</q:note>",
        "<note q:a='1'>a</note>",
        "<note xmlns:q=''>a</note>",
        "<note>]]></note>",
        "<note a='<'/>",
        "<note><!-- a -- b --></note>",
        "<note a='&#x1F;'/>",
        "<?xml version='1.0'?>",
        "<note>a & b</note>",
        "<1/>",
        "<note><?xml?></note>",
        "<?XML a?>",
        "<?a:b c?>",
        "<x:a xmlns:q  =\n''/>",
        "<x:a xmlns='' xmlns='u'/>",
        "<x:a :b='1'/>",
        "<:a/>",
        "<note>a</:note>",
        "<x:a:b/>",
        "<x:1/>",
    ] {
        let error = refused(pidf(inside));
        assert!(matches!(error, Error::NotWellFormed { line: 2.., .. }), "{inside}: {error:?}");
        assert!(!error.is_too_large());
    }
    for body in ["", " ", "hello", "{}", "\u{FEFF}"] {
        assert!(matches!(refused(body), Error::NotWellFormed { .. }), "{body:?}");
    }
    assert!(matches!(refused(pidf("") + "<more/>"), Error::NotWellFormed { .. }));
}

#[test]
fn a_byte_order_mark_and_comments_around_the_root_are_fine() {
    let body = format!("\u{FEFF}{}\n<!-- end --><?pi?>\n", pidf("<note>a</note>"));
    assert_eq!(parse(body).entity(), "sip:alice@example.com");
}

#[test]
fn document_types_are_refused_whatever_they_declare() {
    for dtd in
        ["<!DOCTYPE presence>", "<!DOCTYPE p [<!ENTITY a 'b'>]>", "<!DOCTYPE p SYSTEM 'file:///etc/passwd'>"]
    {
        assert_eq!(refused(pidf("").replacen('\n', dtd, 1)), Error::Dtd);
    }
}

#[test]
fn utf_8_only() {
    let utf_16: Vec<u8> = pidf("").encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert!(matches!(refused(utf_16), Error::NotUtf8 { .. } | Error::NotWellFormed { .. }));
    assert_eq!(
        refused([b"<presence entity='\xff'/>".as_slice()].concat()),
        Error::NotUtf8 { encoding: None }
    );
    let latin = pidf("").replace("UTF-8", "ISO-8859-1");
    assert_eq!(refused(latin), Error::NotUtf8 { encoding: Some("ISO-8859-1".into()) });
    parse(pidf("").replace("\"UTF-8\"", "'us-ascii'"));
}

#[test]
fn limits_at_their_edges() {
    let with = |body: &str, limits: DocumentLimits| Document::parse(body.as_bytes(), &limits).err();
    let defaults = DocumentLimits::default();
    assert_eq!((defaults.bytes_max, defaults.depth_max, defaults.nodes_max), (65_536, 32, 10_000));

    let body = pidf("");
    let bytes = |bytes_max| DocumentLimits { bytes_max, ..defaults };
    assert_eq!(with(&body, bytes(body.len())), None);
    let error = with(&body, bytes(body.len() - 1)).expect("refused");
    assert_eq!(error, Error::TooLarge { bytes: body.len(), max: body.len() - 1 });
    assert!(error.is_too_large());

    let nested = |depth: usize| pidf(&format!("{}{}", "<x:a>".repeat(depth - 1), "</x:a>".repeat(depth - 1)));
    assert_eq!(with(&nested(32), defaults), None);
    assert_eq!(with(&nested(33), defaults), Some(Error::TooDeep { max: 32 }));
    assert_eq!(with(&pidf(&"<x:a>".repeat(10_000)), defaults), Some(Error::TooDeep { max: 32 }));
    assert_eq!(with(&pidf(&"<x:a/>".repeat(9_998)), defaults), None);
    let error = with(&pidf(&"<x:a/>".repeat(10_001)), defaults).expect("refused");
    assert_eq!(error, Error::TooManyNodes { max: 10_000 });
    assert!(error.is_too_large());

    let attributes = |n: usize| -> String { (0..n).map(|i| format!(" a{i}=''")).collect() };
    assert_eq!(with(&pidf(&format!("<x:a{}/>", attributes(128))), defaults), None);
    let error = with(&pidf(&format!("<x:a{}/>", attributes(129))), defaults);
    assert_eq!(error, Some(Error::TooManyAttributes { max: 128 }));
    let prefixes = |n: usize| -> String { (0..n).map(|i| format!(" xmlns:p{i}='u'")).collect() };
    let scopes = format!("<tuple{}><status{}><p1:a/></status></tuple>", prefixes(120), prefixes(128));
    assert_eq!(with(&pidf(&scopes), defaults), Some(Error::TooManyAttributes { max: 128 }));
}
