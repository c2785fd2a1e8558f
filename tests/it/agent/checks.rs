//! What a check answers over HTTP.

use serde_json::json;

use super::*;
use crate::fixtures::mask;

#[tokio::test]
async fn a_check_tells_who_may_use_a_workspace_and_as_what() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let allowed = agent.check(&bob.account, &org.general).await;
    assert_eq!(allowed.code, 200);
    assert!(allowed.head.contains("content-type: application/json"), "{}", allowed.head);
    assert!(allowed.head.contains("cache-control: no-store"), "{}", allowed.head);
    let mut body = allowed.body;
    assert!(body["position"].take().as_i64() > Some(0) && body["stamp"].take().is_string());
    let expected = json!({
        "allowed": true, "organization_id": org.id, "member_id": bob.member, "organization_role": "member",
        "workspace_role": "member", "leaving": false, "stamp": null, "position": null,
    });
    assert_eq!(body, expected);

    let nobody = uuid::Uuid::new_v4().to_string();
    for (account, workspace, reason) in
        [(&nobody, &org.general, "NOT_A_MEMBER"), (&bob.account, &nobody, "WORKSPACE_UNKNOWN")]
    {
        let denied = agent.check(account, workspace).await;
        // Denied is an answer, not an error.
        assert_eq!((denied.code, &denied.body["allowed"]), (200, &Value::Bool(false)), "{denied:?}");
        assert_eq!(
            (&denied.body["denial_reason"], &denied.body["member_id"]),
            (&reason.into(), &Value::Null)
        );
    }

    // By the ids of an identity provider, percent-encoded or in a body.
    let id = ExternalId { issuer: "https://idp.example".to_owned(), subject: "b&b".to_owned() };
    let account = Account { account_id: bob.account.clone(), external_ids: vec![id], ..Default::default() };
    let request = UpdateAccountRequest {
        account: Some(account),
        update_mask: mask(&["external_ids"]),
        ..Default::default()
    };
    world.accounts().update_account(request).await.expect("updated");
    let mut events = agent.events("").await;
    out(&world, &org, &bob).await;
    // The revocation comes after the change of the ids, in the one order of the store.
    let revocation = events.revocation().await;
    assert_eq!(revocation["external_ids"], json!([{ "issuer": "https://idp.example", "subject": "b&b" }]));
    let path =
        format!("/v1/check?issuer=https%3A%2F%2Fidp.example&subject=b%26b&workspace_id={}", org.general);
    assert_eq!(agent.get(&path).await.body["denial_reason"], "NOT_IN_WORKSPACE");

    let checks = json!({ "checks": [
        { "issuer": "https://idp.example", "subject": "b&b", "workspace_id": org.general },
        { "account_id": org.owner.account, "workspace_id": org.general },
        { "account_id": nobody, "workspace_id": org.general },
    ]});
    let batch = agent.post("/v1/check", &checks).await;
    let answers = batch.body["answers"].as_array().expect("answers");
    let said: Vec<&Value> = answers.iter().map(|answer| &answer["allowed"]).collect();
    assert_eq!(said, [false, true, false].map(Value::Bool).iter().collect::<Vec<_>>());
    assert_eq!(
        (&answers[1]["workspace_role"], &answers[2]["denial_reason"]),
        (&"admin".into(), &"NOT_A_MEMBER".into())
    );
    assert!(batch.body["position"].as_i64() >= revocation["position"].as_i64());
    agent.end().await;
}

#[tokio::test]
async fn a_session_from_before_a_revocation_is_refused_also_where_access_was_given_back() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let stamp = agent.check(&bob.account, &org.general).await.body["stamp"].as_str().expect("one").to_owned();
    let mut events = agent.events("").await;
    let path = format!("/v1/check?account_id={}&workspace_id={}&stamp={stamp}", bob.account, org.general);
    assert_eq!(agent.get(&path).await.body["allowed"], true);
    let operator = world.operator();
    operator.deactivate_in(&org, &org.general, &bob).await.expect("deactivated");
    events.revocation().await;
    assert_eq!(agent.get(&path).await.body["denial_reason"], "WORKSPACE_MEMBER_DEACTIVATED");
    operator.reactivate_in(&org, &org.general, &bob).await.expect("reactivated");
    // A second departure tells that the return was told.
    let ann = person(&world, &org, "ann").await;
    out(&world, &org, &ann).await;
    events.revocation().await;
    assert_eq!(agent.check(&bob.account, &org.general).await.body["allowed"], true, "signed in anew");
    assert_eq!(agent.get(&path).await.body["denial_reason"], "SESSION_REVOKED");
    agent.end().await;
}

#[tokio::test]
async fn a_check_at_the_token_of_a_write_is_answered_from_after_it() {
    let (world, other) = (World::start().await, World::start().await);
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let of = |token: &str| {
        format!("/v1/check?account_id={}&workspace_id={}&at_least_as_fresh={token}", bob.account, org.general)
    };
    // Nobody waits for it in between: the agent does.
    let mut token = String::new();
    for _ in 0..10 {
        let operator = world.operator();
        token = operator.deactivate_in(&org, &org.general, &bob).await.expect("out").token;
        assert_eq!(agent.get(&of(&token)).await.body["denial_reason"], "WORKSPACE_MEMBER_DEACTIVATED");
        token = operator.reactivate_in(&org, &org.general, &bob).await.expect("back").token;
        let checks = json!([{ "account_id": bob.account, "workspace_id": org.general }]);
        let asked = json!({ "checks": checks, "at_least_as_fresh": token });
        assert_eq!(agent.post("/v1/check", &asked).await.body["answers"][0]["allowed"], true);
    }
    for (bad, reason) in [("AAAA", "TOKEN_INVALID"), ("", "TOKEN_INVALID")] {
        let reply = agent.get(&of(bad)).await;
        assert_eq!((reply.code, &reply.body["error"]["reason"]), (400, &reason.into()), "{reply:?}");
        assert_eq!(reply.body["error"]["field"], "at_least_as_fresh");
    }
    let (theirs, _) = scene(&other).await;
    let strange = other.operator().rename_organization(&theirs.id, "Theirs").await.expect("a name").token;
    let reply = agent.get(&of(&strange)).await;
    assert_eq!((reply.code, &reply.body["error"]["reason"]), (400, &"TOKEN_WRONG_STORE".into()), "{reply:?}");
    // The log has lost it.
    let lost =
        "UPDATE changes SET change_id = gen_random_uuid() WHERE position = (SELECT position FROM log_head)";
    world.server().database().batch_execute(lost).await.expect("another history");
    let reply = agent.get(&of(&token)).await;
    assert_eq!((reply.code, &reply.body["error"]["reason"]), (400, &"TOKEN_FORKED".into()), "{reply:?}");
    agent.end().await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_reason_and_field() {
    let world = World::start().await;
    let agent = Beside::start(&world).await;
    let id = uuid::Uuid::new_v4().to_string();
    let upper = id.to_uppercase();
    let long = "x".repeat(256);
    let of = |query: &str| format!("/v1/check?{query}");
    for (path, field) in [
        (of(""), "account_id"),
        (of(&format!("workspace_id={id}")), "account_id"),
        (of(&format!("account_id={id}")), "workspace_id"),
        (of(&format!("account_id={id}&workspace_id=general")), "workspace_id"),
        (of(&format!("account_id={upper}&workspace_id={id}")), "account_id"),
        (of(&format!("account_id={id}&account_id={id}&workspace_id={id}")), "account_id"),
        (of(&format!("account_id={id}&issuer=a&workspace_id={id}")), "issuer"),
        (of(&format!("account_id={id}&subject=a&workspace_id={id}")), "subject"),
        (of(&format!("issuer=a&workspace_id={id}")), "subject"),
        (of(&format!("subject=a&workspace_id={id}")), "issuer"),
        (of(&format!("issuer=a&subject={long}&workspace_id={id}")), "subject"),
        (of(&format!("issuer=a&subject=%00&workspace_id={id}")), "subject"),
        (of(&format!("account_id={id}&workspace_id={id}&stamp=1.2")), "stamp"),
        (of(&format!("account_id={id}&workspace_id={id}&worksapce_id={id}")), "query"),
        (
            of(&format!("account_id={id}&workspace_id={id}&max_staleness_seconds=3601")),
            "max_staleness_seconds",
        ),
        (of(&format!("account_id={id}&workspace_id={id}&max_staleness_seconds=-1")), "max_staleness_seconds"),
        (of(&format!("account_id={id}&workspace_id={id}&max_staleness_seconds=1s")), "max_staleness_seconds"),
        (of("max_staleness_seconds=1&max_staleness_seconds=1"), "max_staleness_seconds"),
        (of("at_least_as_fresh=a&at_least_as_fresh=b"), "at_least_as_fresh"),
        ("/v1/revocations?reader=a%20b".to_owned(), "reader"),
        ("/v1/revocations?reader=".to_owned(), "reader"),
        ("/v1/revocations?reader=a&reader=b".to_owned(), "reader"),
        ("/v1/revocations?since=1".to_owned(), "query"),
    ] {
        let reply = agent.get(&path).await;
        assert_eq!(
            (reply.code, &reply.body["error"]["reason"]),
            (400, &"INVALID_FIELD".into()),
            "{path}: {reply:?}"
        );
        assert_eq!(reply.body["error"]["field"], field, "{path}");
        let message = reply.body["error"]["message"].as_str().expect("a message");
        assert!(message.starts_with(field) && !message.contains(&long), "{path}: {message}");
    }
    let good = json!({ "account_id": id, "workspace_id": id });
    let many = vec![good.clone(); 1_001];
    for (path, body, field) in [
        ("/v1/check", json!({ "checks": [] }), "checks"),
        ("/v1/check", json!({ "checks": many }), "checks"),
        ("/v1/check", json!({ "checks": [good], "max_staleness_seconds": 3601 }), "max_staleness_seconds"),
        ("/v1/check", json!({ "checks": [good, { "account_id": id }] }), "checks[1].workspace_id"),
        ("/v1/receipts", json!({ "change_id": "x" }), "change_id"),
        ("/v1/receipts", json!({}), "change_id"),
        ("/v1/receipts", json!({ "change_id": id, "reader": "a b" }), "reader"),
        ("/v1/receipts", json!({ "change_id": id, "ended_sessions": 2_147_483_648_u32 }), "ended_sessions"),
        ("/v1/receipts", json!({ "change_id": id, "failed": "Not A Word" }), "failed"),
        ("/v1/receipts", json!({ "change_id": id, "failed": "a", "handed_over": 1 }), "handed_over"),
    ] {
        let reply = agent.post(path, &body).await;
        assert_eq!((reply.code, &reply.body["error"]["field"]), (400, &field.into()), "{field}: {reply:?}");
    }
    assert_eq!(agent.post("/v1/check", &json!({ "checks": &many[..1_000] })).await.code, 200);
    for body in [
        "",
        "{",
        "[]",
        "{\"check\": []}",
        "{\"checks\": [{\"account\": 1}]}",
        "{\"checks\": {}}",
        "{\"max_staleness_seconds\": -1}",
    ] {
        let reply = agent.call("POST", "/v1/check", body).await;
        assert_eq!((reply.code, &reply.body["error"]["reason"]), (400, &"MALFORMED_JSON".into()), "{body}");
    }
    let huge = agent.call("POST", "/v1/check", &" ".repeat(1024 * 1024 + 1)).await;
    assert_eq!((huge.code, &huge.body["error"]["reason"]), (413, &"BODY_REFUSED".into()));
    let unknown = agent.post("/v1/receipts", &json!({ "change_id": id })).await;
    assert_eq!((unknown.code, &unknown.body["error"]["reason"]), (404, &"CHANGE_UNKNOWN".into()));
    let nowhere = agent.get("/v2/check").await;
    assert_eq!((nowhere.code, &nowhere.body["error"]["reason"]), (404, &"NO_SUCH_PATH".into()));
    for (method, path, allow) in [
        ("DELETE", "/v1/check", "allow: get,head,post"),
        ("PUT", "/v1/receipts", "allow: post"),
        ("POST", "/v1/revocations", "allow: get,head"),
        ("POST", "/readyz", "allow: get,head"),
    ] {
        let reply = agent.call(method, path, "").await;
        assert_eq!(
            (reply.code, &reply.body["error"]["reason"]),
            (405, &"NO_SUCH_METHOD".into()),
            "{reply:?}"
        );
        assert!(reply.body["error"]["message"].is_string() && reply.head.contains(allow), "{reply:?}");
        assert!(reply.head.contains("content-type: application/json"), "{reply:?}");
    }
    assert_eq!(agent.get("/healthz").await.code, 200);
    let ready = agent.get("/readyz").await;
    assert_eq!((ready.code, &ready.body["phase"]), (200, &"LIVE".into()), "{ready:?}");
    agent.end().await;
}

/// A page of any site can have its browser call an address of this machine, also under a name of the site's own.
#[tokio::test]
async fn no_page_of_a_browser_is_answered() {
    let world = World::start().await;
    let agent = Beside::start(&world).await;
    let with = async |line: &str, headers: &str| plain(agent.address, line, headers).await;
    for host in ["localhost", "127.0.0.1:7401", "[::1]:7401", "chat.localhost"] {
        let (code, text) = with("GET /readyz", &format!("host: {host}\r\n")).await;
        assert_eq!(code, 200, "{host}: {text}");
    }
    let receipt = "POST /v1/receipts";
    for (line, headers, reason) in [
        ("GET /readyz", "host: evil.example\r\n", "HOST_REFUSED"),
        ("GET /v1/revocations", "host: evil.example:7401\r\n", "HOST_REFUSED"),
        ("POST /rollcall.v1.AccessService/CheckAccess", "host: evil.example\r\n", "HOST_REFUSED"),
        ("GET /nowhere", "host: evil.example\r\n", "HOST_REFUSED"),
        (
            receipt,
            "host: localhost\r\norigin: https://evil.example\r\ncontent-type: text/plain\r\n",
            "ORIGIN_REFUSED",
        ),
        (receipt, "host: localhost\r\norigin: null\r\n", "ORIGIN_REFUSED"),
        ("GET /v1/revocations", "host: localhost\r\nsec-fetch-site: cross-site\r\n", "ORIGIN_REFUSED"),
    ] {
        let (code, text) = with(line, headers).await;
        assert!(code == 403 && text.contains(reason), "{line} {headers}: {text}");
    }
    // Typed by a person.
    assert_eq!(with("GET /readyz", "host: localhost\r\nsec-fetch-site: none\r\n").await.0, 200);
    agent.end().await;
    // Who can be reached from elsewhere is called by whatever name it has there, and by no page either.
    let agent =
        Beside::with(&world, |options| options.listen = "0.0.0.0:0".parse().expect("an address")).await;
    let here = SocketAddr::from(([127, 0, 0, 1], agent.address.port()));
    assert_eq!(plain(here, "GET /readyz", "host: agent.chat.svc\r\n").await.0, 200);
    let of_a_page = "host: agent.chat.svc\r\norigin: https://evil.example\r\n";
    assert_eq!(plain(here, "GET /readyz", of_a_page).await.0, 403);
    agent.end().await;
}

/// The code and the whole answer of a request without a body.
async fn plain(address: SocketAddr, line: &str, headers: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    let request = format!("{line} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    timeout(BOUND, connection.read_to_string(&mut text)).await.expect("in time").expect("an answer");
    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
    (code, text)
}
