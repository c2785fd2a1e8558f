//! A roster from elsewhere: a service contains it afterwards, and nothing that it had is gone.

use std::collections::BTreeMap;

use super::*;
use crate::processes::{BOUND, Follower, rollcall, roster};

const ROSTER: &str = "organization,workspace,app,person,role\r\n";

async fn import(endpoint: &str, file: &str, more: &[&str]) -> String {
    run_well(["import", "--endpoint", endpoint, file].iter().chain(more)).await
}

async fn import_badly(endpoint: &str, file: &str, more: &[&str]) -> String {
    run_badly(["import", "--endpoint", endpoint, file].iter().chain(more)).await
}

/// The lines `name = number` in a text.
fn numbers(text: &str) -> BTreeMap<String, usize> {
    let line = |line: &str| {
        let (name, number) = line.split_once(" = ")?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Those that are not 0.
fn done(text: &str) -> Vec<(String, usize)> {
    numbers(text).into_iter().filter(|(_, number)| *number > 0).collect()
}

fn counted(counts: &[(&str, usize)]) -> Vec<(String, usize)> {
    counts.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

/// Several organizations and apps, an organization without a workspace, and addresses of other domains.
fn world() -> String {
    let mut rows = company("acme", 24);
    for line in company("Büro \"Nord\", Süd", 12).lines().skip(1) {
        let line = line.replace("Büro \"Nord\", Süd", "\"Büro \"\"Nord\"\", Süd\"");
        rows.push_str(&line.replace(",boss,", ",boss@example.net,"));
        rows.push('\n');
    }
    rows.push_str("2024-01-01T09:00:00Z,solo,member.add,,,p1,owner\n");
    rows
}

/// What an export of this trace is.
async fn exported(directory: &TempDir, trace: &str) -> String {
    let server = Server::start().await;
    let (endpoint, output) = (server.endpoint(), place(directory, "source.csv"));
    replay(&endpoint, &written(directory, "source-trace.csv", trace)).await;
    export(&endpoint, &output, None).await;
    server.stop().await;
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_exported_is_imported_and_exported_again_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let source = exported(&directory, &world()).await;
    let rows = fs::read_to_string(&source).unwrap().lines().count() - 1;
    let server = Server::start().await;
    let endpoint = server.endpoint();
    let client = connect(&endpoint).unwrap();

    // The plan changes nothing, and is what the import then says and does.
    let plan = import(&endpoint, &source, &["--plan"]).await;
    assert_eq!(head(&client).await, 0);
    let accounts = roster(source.as_ref(), None);
    assert!(accounts.len() == rows && rows > 80, "{rows}");
    assert_eq!(import(&endpoint, &source, &["--dry-run"]).await, plan);
    let output = run(["import", "--endpoint", &endpoint, &source]).await;
    assert!(output.status.success());
    assert_eq!(numbers(&String::from_utf8(output.stderr).unwrap()), numbers(&plan));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with(&format!("rows = {rows}\nseconds = ")), "{printed}");
    assert!(printed.contains("\nrows_per_second = "), "{printed}");
    let plan = numbers(&plan);
    assert_eq!(plan["apps_to_register"], client_apps(&client).await);
    assert_eq!((plan["organizations_to_create"], plan["empty_first_workspaces"]), (3, 1));
    assert_eq!(plan["members_to_add"] + plan["memberships_to_add"], rows);
    assert_eq!(plan["rows_as_they_are"], 0);

    let again = place(&directory, "again.csv");
    export(&endpoint, &again, None).await;
    assert!(fs::read(&again).unwrap() == fs::read(&source).unwrap(), "the export is the roster");

    // The second time there is nothing to do, and nothing is done.
    let before = head(&client).await;
    let plan = import(&endpoint, &again, &["--plan"]).await;
    // The empty first workspace of "solo" is in no roster.
    assert_eq!(done(&plan), counted(&[("rows_as_they_are", rows), ("workspaces_beyond_the_file", 1)]));
    import(&endpoint, &again, &[]).await;
    assert_eq!(head(&client).await, before);
    server.stop().await;
}

async fn client_apps(client: &Client) -> usize {
    let apps = client.apps().list_apps(v1::ListAppsRequest::default()).await.unwrap().into_inner().apps;
    // Not the service's own.
    apps.iter().filter(|app| app.name != "rollcall").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_roster_is_refused_with_line_and_column_and_nothing_is_applied() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    let cases = [
        ("", "line 1, column 1: the file is empty"),
        ("organization,workspace,app,person,role\n", "line 2, column 1: no rows"),
        (
            "organization,workspace,app,person\nacme,,,ada\n",
            "line 1, column \"role\": this column is missing",
        ),
        (
            "organization,workspace,app,person,role,mail\nacme,,,ada,owner,x\n",
            "line 1, column \"mail\": unknown",
        ),
        ("=acme,,,ada,owner\r", "line 2, column \"role\": control character '\\r'"),
        ("=acme,,,ada,owner\nacme,,,bob,boss\n", "line 3, column \"role\": \"boss\" is no role"),
        ("=acme,,,ada,owner\nacme,w,chat,ada,owner\n", "line 3, column \"role\": \"owner\" is no role"),
        ("=acme,,,ada,owner\nacme,,,ada,owner\n", "line 3, column \"person\": \"ada\" has a row"),
        ("=acme,,,ada,owner\nacme,w,chat,bob,member\n", "line 3, column \"person\": \"bob\" has no row"),
        ("=acme,,,ada,admin\nacme,,,bob,member\n", "line 2, column \"organization\": organization \"acme\""),
        ("=acme,,,ada,owner\nbeta,,,Ada,owner\n", "line 3, column \"person\": \"Ada\" was \"ada\" before"),
        (
            "=acme,,,ada,owner\nacme,w,chat,ada,admin\nacme,w,boards,ada,admin\n",
            "line 4, column \"app\": workspace \"w\"",
        ),
        ("=acme,,,ada,owner\nacme,w,,ada,admin\n", "line 3, column \"app\": must not be empty"),
        ("=acme,,,ada,owner\nacme,,chat,ada,admin\n", "line 3, column \"app\": must be empty"),
        ("=acme,,,ada,owner\n,,,bob,member\n", "line 3, column \"organization\": must not be empty"),
        ("=acme,,,ada,owner\nacme,,,bob\n", "line 3, column \"role\": the line has 4 fields"),
    ];
    for (index, (text, expected)) in cases.into_iter().enumerate() {
        // "=" stands for the header.
        let text = text.strip_prefix('=').map_or_else(|| text.to_owned(), |rows| format!("{ROSTER}{rows}"));
        let file = written(&directory, &format!("bad{index}.csv"), text);
        for plan in [&[][..], &["--plan"]] {
            let errors = import_badly(&endpoint, &file, plan).await;
            assert!(errors.contains(&format!("bad{index}.csv: {expected}")), "case {index}: {errors}");
            assert!(errors.contains("nothing was applied"), "case {index}: {errors}");
        }
    }
    assert_eq!((head(&client).await, client_apps(&client).await), (0, 0));
    server.stop().await;
}

/// The only organization, its members by the word before the @, and the workspace of this name.
async fn look(client: &Client, workspace: &str) -> (String, BTreeMap<String, v1::Member>, String) {
    let all = client.organizations().list_organizations(v1::ListOrganizationsRequest::default()).await;
    let [organization] = <[_; 1]>::try_from(all.unwrap().into_inner().organizations).unwrap();
    let organization_id = organization.organization_id;
    let list = v1::ListMembersRequest {
        organization_id: organization_id.clone(),
        page_size: 1000,
        ..Default::default()
    };
    let members = client.members().list_members(list).await.unwrap().into_inner().members.into_iter();
    let named = members.map(|member| {
        let email = member.profile.clone().unwrap().email;
        (email.split_once('@').unwrap().0.to_owned(), member)
    });
    let list = v1::ListWorkspacesRequest { organization_id: organization_id.clone(), ..Default::default() };
    let workspaces = client.organizations().list_workspaces(list).await.unwrap().into_inner().workspaces;
    let found = workspaces.into_iter().find(|found| found.display_name == workspace).unwrap();
    (organization_id, named.collect(), found.workspace_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_brings_back_and_changes_roles_but_takes_nothing_away() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    let first = "acme,,,ada,owner\nacme,,,bob,member\nacme,,,cy,member\nacme,,,dee,guest\n\
                 acme,general,chat,ada,admin\nacme,general,chat,bob,member\nacme,general,chat,cy,member\n";
    let first = written(&directory, "first.csv", format!("{ROSTER}{first}"));
    import(&endpoint, &first, &[]).await;

    // Bob is removed, and imported again by the very same file: the old request ids must not stand in the way.
    let (organization_id, members, _) = look(&client, "general").await;
    let member_id = members["bob"].member_id.clone();
    let remove = v1::RemoveMemberRequest {
        organization_id: organization_id.clone(),
        member_id: member_id.clone(),
        ..Default::default()
    };
    client.members().remove_member(remove.clone()).await.unwrap();
    let plan = import(&endpoint, &first, &["--plan"]).await;
    let expected = counted(&[("members_to_add", 1), ("memberships_to_add", 1), ("rows_as_they_are", 5)]);
    assert_eq!(done(&plan), expected);
    import(&endpoint, &first, &[]).await;
    let (_, members, workspace_id) = look(&client, "general").await;
    assert_eq!(members["bob"].member_id, member_id, "the member returns");
    let same = |plan: &str| assert_eq!(done(plan), counted(&[("rows_as_they_are", 7)]));
    same(&import(&endpoint, &first, &["--plan"]).await);

    // Cy is deactivated everywhere, Bob in the workspace alone, and with it in the organization (R13).
    let deactivate = v1::DeactivateMemberRequest {
        organization_id: organization_id.clone(),
        member_id: members["cy"].member_id.clone(),
        ..Default::default()
    };
    client.members().deactivate_member(deactivate).await.unwrap();
    let deactivate = v1::DeactivateWorkspaceMemberRequest {
        organization_id,
        workspace_id,
        member_id: members["bob"].member_id.clone(),
        ..Default::default()
    };
    client.members().deactivate_workspace_member(deactivate).await.unwrap();
    let before = head(&client).await;
    let deactivated =
        "first.csv: those in lines 3, 4, 7, 8 are DEACTIVATED; --reactivate would reactivate them";
    for plan in [&[][..], &["--plan"]] {
        let errors = import_badly(&endpoint, &first, plan).await;
        assert!(errors.contains(deactivated) && errors.contains("nothing was applied"), "{errors}");
    }
    assert_eq!(head(&client).await, before);
    import(&endpoint, &first, &["--reactivate"]).await;
    same(&import(&endpoint, &first, &["--plan"]).await);

    // Another roster of the same organization: Bob owns it now, Ada does not, Dee and Cy are not in it but stay.
    let second =
        "acme,general,chat,bob,admin\nacme,,,ADA@Example.org,member\nacme,,,bob,owner\nacme,,,eve,member\n";
    let second = written(&directory, "second.csv", format!("{ROSTER}{second}"));
    let plan = import(&endpoint, &second, &["--plan"]).await;
    let expected = counted(&[
        ("accounts_to_create", 1),
        ("member_roles_to_change", 2),
        ("members_beyond_the_file", 2),
        ("members_to_add", 1),
        ("membership_roles_to_change", 1),
        ("memberships_beyond_the_file", 2),
    ]);
    assert_eq!(done(&plan), expected);
    import(&endpoint, &second, &[]).await;
    let exported = place(&directory, "exported.csv");
    export(&endpoint, &exported, None).await;
    let rows = "acme,,,ada,member|acme,,,bob,owner|acme,,,cy,member|acme,,,dee,guest|acme,,,eve,member|\
                acme,general,chat,ada,admin|acme,general,chat,bob,admin|acme,general,chat,cy,member";
    assert_eq!(roster(exported.as_ref(), None), rows.split('|').map(str::to_owned).collect());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_apart_or_brought_about_is_refused() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    let file = written(&directory, "r.csv", format!("{ROSTER}acme,,,ada,owner\nacme,w,chat,ada,admin\n"));
    import(&endpoint, &file, &[]).await;
    let other_app =
        written(&directory, "app.csv", format!("{ROSTER}acme,,,ada,owner\nacme,w,wiki,ada,admin\n"));
    let errors = import_badly(&endpoint, &other_app, &[]).await;
    assert!(errors.contains("app.csv: line 3, column \"app\": the service has workspace \"w\" in \"chat\""));

    // A trace makes an organization of its own, whatever its name.
    let trace = format!("{HEADER}2024-01-01T09:00:00Z,acme,member.add,,,bob,owner\n");
    replay(&endpoint, &written(&directory, "trace.csv", trace)).await;
    let before = head(&client).await;
    let errors = import_badly(&endpoint, &file, &[]).await;
    let list = client.organizations().list_organizations(v1::ListOrganizationsRequest::default()).await;
    for organization in list.unwrap().into_inner().organizations {
        assert!(errors.contains(&organization.organization_id), "{errors}");
    }
    assert!(
        errors.contains("r.csv: line 2, column \"organization\": the service has more than one"),
        "{errors}"
    );
    assert_eq!(head(&client).await, before);
    server.stop().await;
}

/// The request ids of an import are made of its file, and the service remembers them: the second import of a file is not
/// answered as if it were the first.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_renamed_or_deleted_since_is_created_anew() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    let rows =
        "acme,,,ada,owner\nacme,,,bob,member\nacme,general,chat,ada,admin\nacme,random,chat,bob,member\n";
    let file = written(&directory, "r.csv", format!("{ROSTER}{rows}"));
    import(&endpoint, &file, &[]).await;

    // Bob is DEACTIVATED with the only workspace that he was in (R13).
    let (organization_id, _, workspace_id) = look(&client, "random").await;
    let delete = v1::DeleteWorkspaceRequest {
        organization_id: organization_id.clone(),
        workspace_id,
        ..Default::default()
    };
    client.organizations().delete_workspace(delete).await.unwrap();
    let errors = import_badly(&endpoint, &file, &[]).await;
    assert!(errors.contains("those in lines 3 are DEACTIVATED"), "{errors}");
    import(&endpoint, &file, &["--reactivate"]).await;
    assert_eq!(done(&import(&endpoint, &file, &["--plan"]).await), counted(&[("rows_as_they_are", 4)]));

    let update = v1::UpdateOrganizationRequest {
        organization: Some(v1::Organization {
            organization_id,
            display_name: "acme before".to_owned(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] }),
        ..Default::default()
    };
    client.organizations().update_organization(update).await.unwrap();
    import(&endpoint, &file, &[]).await;
    let exported = place(&directory, "exported.csv");
    export(&endpoint, &exported, None).await;
    let both = rows.lines().flat_map(|row| [row.to_owned(), row.replace("acme,", "acme before,")]);
    assert_eq!(roster(exported.as_ref(), None), both.collect());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_is_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let source = exported(&directory, &company("acme", 60)).await;
    let server = Server::start().await;
    let endpoint = server.endpoint();
    let client = connect(&endpoint).unwrap();
    register(&client, &["chat"]).await;
    let mut follower = Follower::start(&endpoint, "chat", std::iter::empty::<&str>());
    follower.until("snapshot_end", |_| true).await;
    let mut killed =
        rollcall(["import", "--endpoint", &endpoint, "--concurrency", "4", &source]).spawn().unwrap();
    follower.until("change", |line| line["position"].as_i64() > Some(40)).await;
    killed.kill().await.unwrap();
    follower.terminate().await;
    import(&endpoint, &source, &[]).await;
    let again = place(&directory, "again.csv");
    export(&endpoint, &again, None).await;
    assert!(fs::read(&again).unwrap() == fs::read(&source).unwrap(), "the export is the roster");
    server.stop().await;
}

/// The roster of a real history, where there is one (`make import-check DATA=DIR`).
#[tokio::test(flavor = "multi_thread")]
async fn a_real_roster_is_imported_and_exported_again_as_it_was() {
    let Some(data) = std::env::var_os("ROLLCALL_DATA").map(std::path::PathBuf::from) else {
        println!("ROLLCALL_DATA is not set: no directory with roster.csv, nothing to check");
        return;
    };
    let (source, directory) = (data.join("roster.csv"), tempfile::tempdir().unwrap());
    let server = Server::start().await;
    let endpoint = server.endpoint();
    let importing = rollcall(["import", "--endpoint", &endpoint]).arg(&source).output();
    let output = tokio::time::timeout(BOUND * 10, importing).await.expect("the import ends in time").unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success());
    let again = place(&directory, "again.csv");
    export(&endpoint, &again, None).await;
    assert!(roster(again.as_ref(), None) == roster(&source, None), "the export is the roster");
    let head = head(&connect(&endpoint).unwrap()).await;
    let plan = import(&endpoint, &again, &[]).await;
    println!("again:\n{plan}");
    assert_eq!(head, self::head(&connect(&endpoint).unwrap()).await);
    server.stop().await;
}
