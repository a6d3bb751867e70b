//! The octets of spec/repro (presence and replication) §6: written exactly so, and read.

use repro_sync::{
    ContactInfo, Contents, Encryption, IdentityStrength, PubInfo, REQUEST, ReadError, RegInfo, Reply,
    ResultCode, SignatureStatus, TransportType, Tuple, requested_version,
};

fn crlf(text: &str) -> String {
    text.trim_start_matches('\n').replace('\n', "\r\n")
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("text")
}

/// §6.4, **[observed]** with `regid`.
const REGINFO: &str = "
<reginfo>
   <aor>sip:carol@example.test</aor>
   <contactinfo>
      <contacturi>&lt;sip:carol@127.0.0.1:45677&gt;;q=0.5;+sip.instance=&quot;&lt;urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF&gt;&quot;;reg-id=1;expires=120</contacturi>
      <expires>120</expires>
      <lastupdate>0</lastupdate>
      <receivedfrom>DAAAAAEAAAAAA22yfwAAAQ==</receivedfrom>
      <sippath>sip:edge.example.test;lr;ob</sippath>
      <sippath>sip:p2.example.test;lr</sippath>
      <instance>&lt;urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF&gt;</instance>
      <regid>1</regid>
      <useragent>pyua/1.0</useragent>
   </contactinfo>
</reginfo>
";

fn carol() -> RegInfo {
    const INSTANCE: &str = "<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>";
    RegInfo {
        aor: "sip:carol@example.test".into(),
        contacts: vec![ContactInfo {
            contact_uri: format!(
                "<sip:carol@127.0.0.1:45677>;q=0.5;+sip.instance=\"{INSTANCE}\";reg-id=1;expires=120"
            ),
            expires_seconds: 120,
            last_update_seconds: Some(0),
            received_from: Some(Tuple {
                flow_key: 12,
                transport_key: 1,
                transport: TransportType::Udp,
                is_connection_only: false,
                address: ([127, 0, 0, 1], 45677).into(),
            }),
            public_address: None,
            path: vec!["sip:edge.example.test;lr;ob".into(), "sip:p2.example.test;lr".into()],
            instance: INSTANCE.into(),
            reg_id: 1,
            user_agent: "pyua/1.0".into(),
        }],
    }
}

#[test]
fn section_6_4_reginfo() {
    assert_eq!(written(|out| carol().write(out)), crlf(REGINFO));
    assert_eq!(RegInfo::read(crlf(REGINFO).as_bytes()), Ok(carol()));
}

#[test]
fn section_6_4_what_a_contact_need_not_have() {
    let least = "
<reginfo>
   <aor>sip:carol@example.test</aor>
   <contactinfo>
      <contacturi>&lt;sip:carol@192.0.2.1&gt;</contacturi>
      <expires>0</expires>
      <lastupdate>86399</lastupdate>
   </contactinfo>
</reginfo>
";
    let tombstone = ContactInfo {
        contact_uri: "<sip:carol@192.0.2.1>".into(),
        last_update_seconds: Some(86399),
        ..ContactInfo::default()
    };
    let mut info = RegInfo { aor: "sip:carol@example.test".into(), contacts: vec![tombstone] };
    assert_eq!(RegInfo::read(crlf(least).as_bytes()).as_ref(), Ok(&info));
    // A source whose port is 0 is none.
    let nowhere =
        Tuple { address: ([0, 0, 0, 0], 0).into(), ..carol().contacts[0].received_from.expect("a tuple") };
    info.contacts[0].received_from = Some(nowhere);
    assert_eq!(written(|out| info.write(out)), crlf(least));
}

#[test]
fn section_6_4_read_leniently() {
    let read = RegInfo::read(
        b"<REGINFO> <what>ever</what><ContactInfo><LastUpdate> 12s</LastUpdate><Expires>60.9</Expires>\
          <ContactURI>\r\n  &lt;sip:a&#64;b&gt;</ContactURI><receivedfrom>DAAA</receivedfrom><instance></instance>\
          <regid>99999999999</regid><userdata>x</userdata><publicaddress>DAAAAAEAAAAAA22yfwAAAQ</publicaddress>\
          </ContactInfo><AOR>sip:a@b</AOR></REGINFO>",
    )
    .expect("a reginfo");
    assert_eq!(read.aor, "sip:a@b");
    let contact = &read.contacts[0];
    assert_eq!((contact.expires_seconds, contact.last_update_seconds), (60, Some(12)));
    assert_eq!(contact.contact_uri, "<sip:a&#64;b>", "numeric references are not understood");
    assert_eq!((contact.received_from, contact.instance.as_str(), contact.reg_id), (None, "", u32::MAX));
    assert_eq!(contact.public_address, carol().contacts[0].received_from);
}

#[test]
fn section_6_4_what_it_cannot_be_without() {
    let contact = |inner: &str| {
        RegInfo::read(format!("<reginfo><aor>a</aor><contactinfo>{inner}</contactinfo></reginfo>").as_bytes())
    };
    assert!(contact("<contacturi>a</contacturi><expires>1</expires>").is_ok());
    for (inner, element) in
        [("<expires>1</expires>", "contacturi"), ("<contacturi>a</contacturi>", "expires")]
    {
        assert_eq!(contact(inner), Err(ReadError::Missing { element }));
    }
    assert_eq!(RegInfo::read(b"<reginfo></reginfo>"), Err(ReadError::Missing { element: "aor" }));
}

/// §6.5, **[observed]**, with a document of our own.
const PUBINFO: &str = "
<pubinfo>
   <eventtype>presence</eventtype>
   <documentkey>alice@example.test</documentkey>
   <etag>614f5da98eb89b30</etag>
   <expires>600</expires>
   <lastupdate>0</lastupdate>
   <contents>&lt;?xml version=&apos;1.0&apos; encoding=&apos;UTF-8&apos;?&gt;&lt;presence entity=&quot;pres:alice@example.test&quot;&gt;&lt;note&gt;a &amp;amp; b&lt;/note&gt;&lt;/presence&gt;
</contents>
   <isencrypted>false</isencrypted>
</pubinfo>
";

fn alice() -> PubInfo {
    let body = "<?xml version='1.0' encoding='UTF-8'?><presence entity=\"pres:alice@example.test\"><note>a &amp; b</note>\
                </presence>\r\n";
    PubInfo {
        event_type: "presence".into(),
        document_key: "alice@example.test".into(),
        etag: "614f5da98eb89b30".into(),
        expires_seconds: 600,
        last_update_seconds: Some(0),
        contents: Some(Contents { body: body.into(), encryption: None }),
    }
}

#[test]
fn section_6_5_modify() {
    assert_eq!(written(|out| alice().write(out)), crlf(PUBINFO));
    assert_eq!(PubInfo::read(crlf(PUBINFO).as_bytes()), Ok(alice()));
}

#[test]
fn section_6_5_refresh_and_removal() {
    for (expires_seconds, expected) in [(600, "600"), (0, "0")] {
        let text = crlf(&format!(
            "
<pubinfo>
   <eventtype>presence</eventtype>
   <documentkey>alice@example.test</documentkey>
   <etag>614f5da98eb89b30</etag>
   <expires>{expected}</expires>
   <lastupdate>0</lastupdate>
</pubinfo>
"
        ));
        let info = PubInfo { expires_seconds, contents: None, ..alice() };
        assert_eq!(written(|out| info.write(out)), text);
        assert_eq!(PubInfo::read(text.as_bytes()), Ok(info));
    }
    // A tombstone has no contents, even if its owner still has them.
    let tombstone = PubInfo { expires_seconds: 0, ..alice() };
    assert!(!written(|out| tombstone.write(out)).contains("contents"));
}

#[test]
fn section_6_5_encrypted() {
    let encryption = Encryption {
        signature: SignatureStatus::CaTrusted,
        signer: "alice@<x>".into(),
        identity: "sip:alice@example.test".into(),
        strength: IdentityStrength::FailedIdentity,
    };
    let contents = |encryption| Some(Contents { body: b"x".to_vec(), encryption: Some(encryption) });
    let full = PubInfo { contents: contents(encryption), ..alice() };
    let text = written(|out| full.write(out));
    assert!(text.ends_with(&crlf(
        "
   <contents>x</contents>
   <isencrypted>true</isencrypted>
   <sigstatus>catrusted</sigstatus>
   <signer>alice@&lt;x&gt;</signer>
   <identity>sip:alice@example.test</identity>
   <identitystrength>failedidentity</identitystrength>
</pubinfo>
"
    )));
    assert_eq!(PubInfo::read(text.as_bytes()), Ok(full));
    let least = PubInfo { contents: contents(Encryption::default()), ..alice() };
    let text = written(|out| least.write(out));
    assert!(
        text.ends_with("<isencrypted>true</isencrypted>\r\n   <sigstatus>none</sigstatus>\r\n</pubinfo>\r\n")
    );
    assert_eq!(PubInfo::read(text.as_bytes()), Ok(least));
}

#[test]
fn section_6_5_read_leniently() {
    let read = |inner: &str| PubInfo::read(format!("<PubInfo>{inner}</PubInfo>").as_bytes());
    let least = "<EventType>pres&amp;ence</EventType><documentkey>a&amp;b</documentkey><etag>e</etag>";
    let info = read(&format!("{least}<expires>5</expires><LASTUPDATE>7</LASTUPDATE>")).expect("a pubinfo");
    assert_eq!(
        (info.event_type.as_str(), info.document_key.as_str()),
        ("pres&amp;ence", "a&b"),
        "the type is as it is"
    );
    assert_eq!(info.last_update_seconds, Some(7));
    assert_eq!(read(&format!("{least}<expires>5</expires>")).map(|info| info.last_update_seconds), Ok(None));
    assert_eq!(read(least), Err(ReadError::Missing { element: "expires" }), "that would be a removal");
    for (missing, element) in [("etag", "etag"), ("documentkey", "documentkey"), ("EventType", "eventtype")] {
        let other = format!("{least}<expires>5</expires>").replace(missing, "x");
        assert_eq!(read(&other), Err(ReadError::Missing { element }));
    }
    let unknown = format!(
        "{least}<expires>5</expires><contents>x</contents><isencrypted>TRUE</isencrypted><sigstatus>new</sigstatus>"
    );
    let contents = read(&unknown).expect("a pubinfo").contents.expect("contents");
    assert_eq!(contents.encryption, Some(Encryption::default()));
}

#[test]
fn section_6_3_request() {
    let text = crlf(
        "
<InitialSync>
  <Request>
     <Version>4</Version>
  </Request>
</InitialSync>
",
    );
    assert_eq!((REQUEST.as_slice(), REQUEST.len()), (text.as_bytes(), 85));
    assert_eq!(requested_version(REQUEST), Ok(4));
    for (request, version) in [
        ("<initialsync><request><version> 4x</version></request></initialsync>", 4),
        ("<InitialSync><Request><Version>5</Version></Request></InitialSync>", 5),
        ("<InitialSync><Request><Version></Version></Request></InitialSync>", 0),
        ("<InitialSync></InitialSync>", 0),
    ] {
        assert_eq!(requested_version(request.as_bytes()), Ok(version), "{request}");
    }
    assert!(requested_version(b"<InitialSync><Request></InitialSync>").is_err());
}

/// The request as a framer cuts it: without the line end behind it.
fn framed_request() -> &'static [u8] {
    REQUEST.trim_ascii_end()
}

#[test]
fn section_6_3_responses() {
    for (result, line, code) in [
        (ResultCode::Completed, "<Result Code=\"200\">Initial Sync Completed.</Result>", 200),
        (ResultCode::VersionNotSupported, "<Result Code=\"505\">Version not supported.</Result>", 505),
        (ResultCode::UnknownMethod, "<Result Code=\"400\">Unknown method</Result>", 400),
        (ResultCode::ParseError, "<Result Code=\"400\">Parse error</Result>", 400),
    ] {
        let spliced = crlf(&format!(
            "
<InitialSync>
  <Request>
     <Version>4</Version>
  </Request>

  <Response>
    {line}
  </Response>
</InitialSync>"
        ));
        assert_eq!(String::from_utf8_lossy(&result.respond(framed_request())), spliced);
        let bare = crlf(&format!("<Response>\n    {line}\n</Response>"));
        assert_eq!(String::from_utf8_lossy(&result.respond(b"<Foo></Foo>")), bare);
        for form in [spliced, bare] {
            let reply = Reply::read(form.as_bytes()).expect("a reply");
            assert_eq!((reply.code, reply.text.as_str()), (code, result.text()));
        }
    }
}

#[test]
fn section_6_3_a_response_without_a_code_is_none() {
    for octets in [
        "<InitialSync></InitialSync>",
        "<InitialSync><Response></Response></InitialSync>",
        "<InitialSync><Response><Result>x</Result></Response></InitialSync>",
        "<Response><Result Code=\"99999\">x</Result></Response>",
    ] {
        assert!(Reply::read(octets.as_bytes()).is_err(), "{octets}");
    }
}
