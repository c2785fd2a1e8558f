//! A history to replay: some organizations in which people come, join workspaces, change roles, and go. The same number
//! of rows gives the same history.

use std::fmt::Write as _;

/// Organizations that the rows are spread over, unevenly.
const ORGANIZATIONS: usize = 8;
/// Workspaces of each.
const WORKSPACES: usize = 12;

/// Who is where in one organization.
#[derive(Default)]
struct Organization {
    people: Vec<Vec<usize>>,
    named: usize,
}

/// So many rows, as a file.
pub(crate) fn trace(rows: usize) -> String {
    let mut text = "time,organization,op,workspace,app,person,role\n".to_owned();
    let mut organizations: Vec<Organization> = Vec::new();
    let mut written = 0;
    let mut row =
        |organization: usize, op: &str, workspace: Option<usize>, person: Option<usize>, role: &str| {
            let apps = ["chat", "time-tracking", "boards"];
            let (workspace, app) =
                workspace.map_or_else(Default::default, |w| (format!("workspace-{w}"), apps[w % apps.len()]));
            let person = person.map(|person| format!("p{organization}x{person}")).unwrap_or_default();
            writeln!(
                text,
                "2024-01-08T09:00:00Z,organization-{organization},{op},{workspace},{app},{person},{role}"
            )
            .expect("a text takes everything");
            written += 1;
            written < rows
        };
    for number in 0..ORGANIZATIONS {
        row(number, "member.add", None, Some(0), "owner");
        for workspace in 0..WORKSPACES {
            row(number, "workspace.create", Some(workspace), None, "");
        }
        organizations.push(Organization { people: vec![Vec::new()], named: 1 });
    }
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    loop {
        // The first ones are drawn more often.
        let number = draw(ORGANIZATIONS).min(draw(ORGANIZATIONS));
        let Organization { people, named } = &mut organizations[number];
        let person = draw(people.len());
        let (joins, workspace) = (draw(100), draw(WORKSPACES));
        let gone = people[person].contains(&usize::MAX);
        let inside = people[person].iter().position(|own| *own == workspace);
        let more = match (joins, inside) {
            (0..25, _) => {
                people.push(Vec::new());
                *named += 1;
                row(number, "member.add", None, Some(*named - 1), "member")
            }
            (25..31, _) if person > 0 && !gone => {
                people[person] = vec![usize::MAX];
                row(number, "member.remove", None, Some(person), "")
            }
            (_, None) if !gone => {
                people[person].push(workspace);
                row(number, "workspace.add", Some(workspace), Some(person), "member")
            }
            (31..60, Some(at)) => {
                people[person].swap_remove(at);
                row(number, "workspace.remove", Some(workspace), Some(person), "")
            }
            _ => true,
        };
        if !more {
            return text;
        }
    }
}
