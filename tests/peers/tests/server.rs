//! The server as an operator meets it: exit codes, `check`, reload, drain, metrics.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use peers::{
    ADMIN_LIMIT, Message, OPEN as CONFIG, Process, Rollcall, Signal, UserAgent, binary, free_port, get, pidf,
    publish, told,
};

/// Exit codes of sysexits.h.
const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;

/// Runs the binary in `folder` to its end.
fn rollcall(folder: &Path, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(binary()?).current_dir(folder).args(arguments).output()?)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Registers `user` of example.test with the address of the user agent as its contact.
fn register(agent: &mut UserAgent, user: &str) -> Result<Message> {
    agent.request(&format!(
        "REGISTER sip:example.test SIP/2.0
         From: <sip:{user}@example.test>;tag=r
         To: <sip:{user}@example.test>
         Call-ID: register-{user}
         CSeq: 1 REGISTER
         Contact: <sip:{user}@{{here}}>
         Expires: 600"
    ))?;
    agent.receive("SIP/2.0 200")
}

/// Bob asks for the presence of Alice, in a dialog of its own.
fn subscribe(bob: &mut UserAgent, call_id: &str) -> Result<()> {
    bob.request(&format!(
        "SUBSCRIBE sip:alice@example.test SIP/2.0
         From: <sip:bob@example.test>;tag=s
         To: <sip:alice@example.test>
         Call-ID: {call_id}
         CSeq: 1 SUBSCRIBE
         Contact: <sip:bob@{{here}}>
         Event: presence
         Expires: 600"
    ))
}

#[test]
fn a_bad_configuration_ends_with_64_and_names_file_line_and_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cases = [
        // Text, the place that the message names, and a word of what it says about it.
        (
            "[registrar]\nmin_expire_seconds = 5\n",
            "bad.toml:2: registrar.min_expire_seconds",
            "min_expires_seconds",
        ),
        ("[server]\n\n\nnode = 7.5.1\n", "bad.toml:4", ""),
        (
            "[[domain]]\nname = \"a.test\"\n[domain.presence]\ncomposition = \"mix\"\n",
            "bad.toml:4: domain[0].presence.composition",
            "expected `merge` or `union`",
        ),
        (
            "[registrar]\nmin_expires_seconds = 9\nmax_expires_seconds = 8\n",
            "bad.toml:2: registrar.min",
            "at most",
        ),
        (
            "[[user]]\naor = \"sip:alice@elsewhere.test\"\npassword = \"x\"\n",
            "bad.toml:2: user[0].aor",
            "domains",
        ),
    ];
    for (text, place, expected) in cases {
        fs::write(folder.path().join("bad.toml"), text)?;
        for command in ["run", "check"] {
            let output = rollcall(folder.path(), &[command, "--config", "bad.toml"])?;
            let message = stderr(&output);
            assert_eq!(output.status.code(), Some(USAGE), "{command} with {text}: {message}");
            assert!(
                message.contains(place) && message.contains(expected),
                "{command} with {text}: {message}"
            );
            assert!(output.stdout.is_empty());
        }
    }
    let output = rollcall(folder.path(), &["run", "--config", "absent.toml"])?;
    assert_eq!(output.status.code(), Some(USAGE));
    assert!(stderr(&output).contains("absent.toml"), "{}", stderr(&output));
    Ok(())
}

#[test]
fn bad_usage_ends_with_64() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cases: [&[&str]; 5] = [
        &[],
        &["serve"],
        &["run", "--port", "5060"],
        &["check", "--override", "server"],
        &["run", "--config"],
    ];
    for arguments in cases {
        let output = rollcall(folder.path(), arguments)?;
        assert_eq!(output.status.code(), Some(USAGE), "{arguments:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [["--help"], ["--version"]] {
        assert_eq!(rollcall(folder.path(), &arguments)?.status.code(), Some(0), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn a_port_in_use_ends_with_69_and_names_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let (taken_udp, taken_tcp) = (udp.local_addr()?, tcp.local_addr()?);
    let free = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let free_admin = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    // `udp` and `tcp` hold their ports until the end of the test.
    for (transport, address, admin, taken) in [
        ("udp", taken_udp, free_admin, taken_udp),
        ("tcp", taken_tcp, free_admin, taken_tcp),
        ("udp", free, taken_tcp, taken_tcp),
    ] {
        let config = format!(
            "[[listen]]\ntransport = \"{transport}\"\naddress = \"{address}\"\n[admin]\naddress = \"{admin}\"\n"
        );
        fs::write(folder.path().join("rollcall.toml"), config)?;
        let output = rollcall(folder.path(), &["run", "--config", "rollcall.toml"])?;
        assert_eq!(output.status.code(), Some(UNAVAILABLE), "{transport} {address}: {}", stderr(&output));
        assert!(stderr(&output).contains(&taken.to_string()), "{}", stderr(&output));
    }
    Ok(())
}

/// Two processes that wrote one journal would lose what either acknowledged.
#[test]
fn a_data_directory_in_use_ends_with_69_and_names_it() -> Result<()> {
    let first = Rollcall::start(CONFIG)?;
    let folder = tempfile::tempdir()?;
    let (sip, admin) = (free_port()?, free_port()?);
    let config = format!(
        "[server]\ndata_dir = \"{}\"\n[[listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:{sip}\"\n\
         [admin]\naddress = \"127.0.0.1:{admin}\"\n",
        first.data_dir().display()
    );
    fs::write(folder.path().join("rollcall.toml"), config)?;
    let output = rollcall(folder.path(), &["run", "--config", "rollcall.toml"])?;
    assert_eq!(output.status.code(), Some(UNAVAILABLE), "{}", stderr(&output));
    assert!(stderr(&output).contains("another process uses this journal"), "{}", stderr(&output));
    Ok(())
}

#[test]
fn check_prints_what_is_in_effect_without_passwords() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ha1 = "0123456789abcdef0123456789abcdef";
    let config = format!(
        "[[domain]]\nname = \"example.test\"\n[registrar]\nmin_expires_seconds = 61\nmax_expires_seconds = 7000\n\
         [[user]]\naor = \"sip:alice@example.test\"\npassword = \"wonderland\"\n\
         [[user]]\naor = \"bob@example.test\"\nha1 = \"{ha1}\"\n"
    );
    fs::write(folder.path().join("rollcall.toml"), config)?;
    let output = Command::new(binary()?)
        .current_dir(folder.path())
        .args(["check", "--config", "rollcall.toml", "--override", "registrar.max_expires_seconds=6000"])
        .args(["--override", "server.node=b"])
        .env("ROLLCALL__REGISTRAR__MAX_EXPIRES_SECONDS", "5000")
        .env("ROLLCALL__REGISTRAR__DEFAULT_EXPIRES_SECONDS", "4000")
        .output()?;
    let text = String::from_utf8(output.stdout.clone())?;

    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for line in [
        "min_expires_seconds = 61",       // of the file
        "default_expires_seconds = 4000", // of the environment
        "max_expires_seconds = 6000",     // of an override, which wins over both
        "node = \"b\"",
        "name = \"example.test\"",
        "composition = \"merge\"", // by default
        "algorithms = [\"MD5\"]",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
    assert!(text.contains("alice@example.test") && text.contains("bob@example.test"), "{text}");
    for secret in ["wonderland", ha1] {
        assert!(!text.contains(secret) && !stderr(&output).contains(secret), "{text}");
    }
    Ok(())
}

#[test]
fn signals_end_it_with_0() -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        // With nothing under way there is nothing to wait for.
        let mut server = Rollcall::start(&format!("{CONFIG}[server]\ndrain_seconds = 60\n"))?;
        server.signal(signal)?;
        assert_eq!(server.wait()?.code(), Some(0), "{signal:?}");
        assert!(server.log().contains("stopped"), "{}", server.log());
    }
    Ok(())
}

/// With presence on, the server answers SUBSCRIBE itself (RFC 6665 §4.2.1); switched off by a reload, SUBSCRIBE goes to
/// the registered contact like any request (RFC 3261 §16.5), and its answer comes back.
#[test]
fn a_reload_switches_presence_off() -> Result<()> {
    let mut server = Rollcall::start(CONFIG)?;
    let (mut alice, mut bob) = (UserAgent::udp(server.sip())?, UserAgent::udp(server.sip())?);
    register(&mut alice, "alice")?;

    subscribe(&mut bob, "before")?;
    let accepted = bob.receive("SIP/2.0 200")?;
    let notify = bob.receive("NOTIFY ")?;
    assert_eq!(notify.header("Call-ID"), "before");
    assert!(notify.header("Subscription-State").starts_with("active"), "{notify:?}");
    assert_eq!(accepted.header("Expires"), "600");
    bob.answer(&notify, "200 OK", "", "")?;

    server.reconfigure(&CONFIG.replace("enabled = true", "enabled = false"))?;
    server.signal(Signal::HUP)?;
    server.wait_for(" reloaded")?;

    subscribe(&mut bob, "after")?;
    let subscribe = alice.receive("SUBSCRIBE ")?;
    assert_eq!(subscribe.header("Call-ID"), "after");
    assert!(subscribe.start_line().contains(&format!("sip:alice@{}", alice.address())), "{subscribe:?}");
    alice.answer(&subscribe, "489 Bad Event", "a", "Allow-Events: dialog")?;
    let answer = bob.receive("SIP/2.0 489")?;
    assert_eq!(answer.header("Call-ID"), "after");
    assert_eq!(answer.header("Allow-Events"), "dialog");
    Ok(())
}

/// Within a dialog the Request-URI is the remote target (RFC 3261 §12.2.1.1). Of watchers that put the AOR there a subscription
/// to presence is refreshed and ended all the same; one to another package is with a device.
#[test]
fn a_watcher_may_name_the_user_within_the_dialog() -> Result<()> {
    let server = Rollcall::start(CONFIG)?;
    let (mut alice, mut bob) = (UserAgent::udp(server.sip())?, UserAgent::udp(server.sip())?);
    register(&mut alice, "alice")?;
    subscribe(&mut bob, "watch")?;
    let to = bob.receive("SIP/2.0 200")?.header("To").to_owned();
    let first = told(&mut bob)?;
    let again = |bob: &mut UserAgent, to: &str, cseq: u32, more: &str| {
        bob.request(&format!(
            "SUBSCRIBE sip:alice@example.test SIP/2.0
             From: <sip:bob@example.test>;tag=s
             To: {to}
             Call-ID: watch
             CSeq: {cseq} SUBSCRIBE
             Contact: <sip:bob@{{here}}>
             {more}"
        ))
    };
    for (cseq, expires, state) in [(2, 300, "active"), (3, 0, "terminated")] {
        again(&mut bob, &to, cseq, &format!("Event: presence\nExpires: {expires}"))?;
        assert_eq!(bob.receive("SIP/2.0 200")?.header("Expires"), expires.to_string());
        let next = told(&mut bob)?;
        assert!(next.header("Subscription-State").starts_with(state), "{next:?}");
        assert_eq!(next.cseq()?, first.cseq()? + cseq - 1);
    }
    again(&mut bob, &to, 4, "Event: presence\nExpires: 300")?;
    bob.receive("SIP/2.0 481")?;

    again(&mut bob, "<sip:alice@example.test>;tag=of-a-device", 5, "Event: dialog\nExpires: 300")?;
    let forwarded = alice.receive("SUBSCRIBE ")?;
    alice.answer(&forwarded, "200 OK", "", "Expires: 300")?;
    bob.receive("SIP/2.0 200")?;
    Ok(())
}

#[test]
fn a_bad_reload_changes_nothing() -> Result<()> {
    let off = CONFIG.replace("enabled = true", "enabled = false");
    let elsewhere = format!("127.0.0.1:{}", free_port()?);
    let bad = [
        // A misspelt key beside a change that would be good.
        (format!("{off}compositoin = \"merge\"\n"), "compositoin"),
        // What cannot change while the server runs.
        (format!("{off}[[listen]]\ntransport = \"udp\"\naddress = \"{elsewhere}\"\n"), "listen"),
        (format!("{off}[storage]\ndurability = \"memory\"\n"), "storage"),
        ("[[domain]\n".to_owned(), "rollcall.toml"),
    ];
    let mut server = Rollcall::start(CONFIG)?;
    let mut bob = UserAgent::udp(server.sip())?;
    for (number, (config, named)) in bad.iter().enumerate() {
        server.reconfigure(config)?;
        server.signal(Signal::HUP)?;
        let line = server.wait_for("not reloaded")?;
        assert!(line.contains("ERROR") && line.contains(named), "{line}");

        let call_id = format!("subscription-{number}");
        subscribe(&mut bob, &call_id)?;
        assert_eq!(bob.receive("SIP/2.0 200")?.header("Call-ID"), call_id);
        let notify = bob.receive("NOTIFY ")?;
        assert_eq!(notify.header("Call-ID"), call_id);
        bob.answer(&notify, "200 OK", "", "")?;
    }
    // And a good one is still taken.
    server.reconfigure(CONFIG)?;
    server.signal(Signal::HUP)?;
    server.wait_for(" reloaded")?;
    Ok(())
}

/// RFC 3261 §16.7: an INVITE that was forwarded before SIGTERM still gets its final response; what is new is refused
/// with 503 (RFC 3261 §21.5.4).
#[test]
fn a_call_that_is_being_set_up_survives_the_drain() -> Result<()> {
    let mut server = Rollcall::start(&format!("{CONFIG}[server]\ndrain_seconds = 30\n"))?;
    let (mut alice, mut bob) = (UserAgent::udp(server.sip())?, UserAgent::udp(server.sip())?);
    register(&mut alice, "alice")?;
    bob.request(
        "INVITE sip:alice@example.test SIP/2.0
         From: <sip:bob@example.test>;tag=b
         To: <sip:alice@example.test>
         Call-ID: call
         CSeq: 1 INVITE
         Contact: <sip:bob@{here}>",
    )?;
    let invite = alice.receive("INVITE ")?;
    alice.answer(&invite, "180 Ringing", "a", "Contact: <sip:alice@{here}>")?;
    bob.receive("SIP/2.0 180")?;

    server.signal(Signal::TERM)?;
    server.wait_until_draining()?;
    bob.request(
        "OPTIONS sip:alice@example.test SIP/2.0
         From: <sip:bob@example.test>;tag=o
         To: <sip:alice@example.test>
         Call-ID: options
         CSeq: 1 OPTIONS",
    )?;
    let refused = bob.receive("SIP/2.0 503")?;
    assert_eq!(refused.header("Call-ID"), "options");

    alice.answer(&invite, "200 OK", "a", "Contact: <sip:alice@{here}>")?;
    let established = bob.receive("SIP/2.0 200")?;
    assert_eq!(established.header("Call-ID"), "call");
    assert_eq!(established.headers("Record-Route").next(), invite.headers("Record-Route").next());
    assert_eq!(server.wait()?.code(), Some(0));
    Ok(())
}

/// Every metric that DESIGN promises for what this version has, with traffic to show in it.
#[test]
fn metrics_are_there_and_move() -> Result<()> {
    let mut server = Rollcall::start(CONFIG)?;
    let (mut alice, mut bob) = (UserAgent::tcp(server.sip())?, UserAgent::udp(server.sip())?);
    register(&mut alice, "alice")?;
    subscribe(&mut bob, "watch")?;
    let notify = bob.receive("NOTIFY ")?;
    bob.answer(&notify, "200 OK", "", "")?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    let notify = bob.receive("NOTIFY ")?;
    assert!(notify.body().contains("<basic>open</basic>"), "{notify:?}");
    bob.answer(&notify, "200 OK", "", "")?;
    server.wait_for_metric("rollcall_notifies_total{event=\"presence\",outcome=\"2xx\"}", 2.0)?;

    let metrics = server.metrics()?;
    for (name, kind) in [
        ("rollcall_requests_total", "counter"),
        ("rollcall_responses_total", "counter"),
        ("rollcall_registrar_bindings", "gauge"),
        ("rollcall_presence_publications", "gauge"),
        ("rollcall_subscriptions", "gauge"),
        ("rollcall_notifies_total", "counter"),
        ("rollcall_presence_notify_lag_seconds", "histogram"),
        ("rollcall_presence_compose_duration_seconds", "histogram"),
        ("rollcall_transactions", "gauge"),
        ("rollcall_connections", "gauge"),
        ("rollcall_dropped_total", "counter"),
        ("rollcall_build_info", "gauge"),
        ("process_cpu_seconds_total", "counter"),
        ("process_open_fds", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_start_time_seconds", "gauge"),
    ] {
        assert!(metrics.has(name, kind), "no {kind} {name}");
    }
    for (sample, value) in [
        ("rollcall_requests_total{domain=\"example.test\",method=\"REGISTER\",transport=\"tcp\"}", 1.0),
        ("rollcall_requests_total{domain=\"example.test\",method=\"PUBLISH\",transport=\"tcp\"}", 1.0),
        ("rollcall_requests_total{domain=\"example.test\",method=\"SUBSCRIBE\",transport=\"udp\"}", 1.0),
        ("rollcall_responses_total{code=\"200\",method=\"PUBLISH\"}", 1.0),
        ("rollcall_registrar_bindings{domain=\"example.test\"}", 1.0),
        ("rollcall_presence_publications{domain=\"example.test\"}", 1.0),
        ("rollcall_subscriptions{domain=\"example.test\",event=\"presence\"}", 1.0),
        ("rollcall_presence_notify_lag_seconds_count", 1.0),
        ("rollcall_connections{transport=\"tcp\"}", 1.0),
        ("rollcall_build_info", 1.0),
    ] {
        assert_eq!(metrics.sum(sample)?, value, "{sample}");
    }
    assert!(metrics.sum("rollcall_transactions{kind=\"server\"}")? >= 1.0);
    assert!(metrics.sum("rollcall_presence_compose_duration_seconds_count")? >= 1.0);

    bob.request("this is no SIP")?;
    server.wait_for_metric("rollcall_dropped_total", 1.0)?;
    Ok(())
}

/// Without `--config`, the file of the working directory is read; `/healthz` says that the process is alive.
#[test]
fn the_configuration_of_the_working_directory_is_found() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (sip, admin) = (free_port()?, format!("127.0.0.1:{}", free_port()?));
    fs::write(
        folder.path().join("rollcall.toml"),
        format!(
            "[[listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:{sip}\"\n[admin]\naddress = \"{admin}\"\n"
        ),
    )?;
    let mut command = Command::new(binary()?);
    let mut server = Process::start("rollcall", command.current_dir(folder.path()).arg("run"))?;
    let admin = admin.parse().context("an address")?;
    server.wait_until("/healthz", ADMIN_LIMIT, || {
        get(admin, "/healthz").is_ok_and(|(code, _)| code == 200).then_some(())
    })?;
    // Its data goes beside it.
    assert!(folder.path().join("rollcall-data").is_dir());
    Ok(())
}
