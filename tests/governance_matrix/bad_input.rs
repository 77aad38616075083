//! What would lower the floor, or make somebody more than they are: refused with a hint, nothing changed, logged.

use tokio_postgres::{Config, NoTls};

use crate::support::{Refusal, TestServer, number, refused, rows, run, value};
use crate::{epoch, login, refusal, staffed};

/// The one refusal that has nothing to advise.
const SYNTAX_ERROR: &str = "42601";

/// Asked by the bootstrap account, who may do the most.
const BY_ADMIN: &[(&str, &str)] = &[
    // W3: the floor, in any spelling, by any way.
    ("ALTER SYSTEM SET privacy.min_group_size = 9", "22023"),
    ("ALTER SYSTEM SET privacy.min_group_size = '9'", "22023"),
    ("ALTER SYSTEM SET privacy.min_group_size TO 0", "22023"),
    ("ALTER SYSTEM SET privacy.min_group_size = -1", "22023"),
    ("ALTER SYSTEM SET privacy.min_group_size = NULL", "22023"),
    ("ALTER SYSTEM SET privacy.min_group_size = 'NaN'", "22023"),
    ("ALTER SYSTEM SET privacy.min_group_size = 10.5", "22023"),
    ("ALTER SYSTEM SET privacy.min_group_size = 9e0", "22023"),
    ("ALTER SYSTEM SET privacy.min_group_size = 1e1", "22023"),
    ("ALTER SYSTEM SET privacy.min_group_size = ''", "22023"),
    ("ALTER SYSTEM SET \"Privacy\".\"Min_Group_Size\" = 9", "22023"),
    ("ALTER SYSTEM SET \"privacy.min_group_size \" = 9", "42704"),
    ("ALTER SYSTEM SET privacy.min_group_sizе = 9", "42704"),
    ("SET privacy.min_group_size = 9", "42501"),
    ("SET LOCAL privacy.min_group_size = 9", "42501"),
    ("SET SESSION privacy.min_group_size = 10", "42501"),
    ("SET \"PRIVACY.MIN_GROUP_SIZE\" = 9", "42501"),
    ("SELECT set_config('privacy.min_group_size', '9', false)", "42501"),
    ("ALTER ROLE ana SET privacy.min_group_size = 9", "42501"),
    ("ALTER ROLE ana SET privacy.mask_low = 0", "42501"),
    ("ALTER ROLE ana SET privacy.epsilon = 2", "22023"),
    ("ALTER ROLE ana SET privacy.epsilon = 'NaN'", "22023"),
    ("ALTER TABLE person SET (min_group_size = 9)", "22023"),
    ("ALTER TABLE person SET (\"privacy.min_group_size\" = 9)", "22023"),
    ("CREATE ROLE low LOGIN PASSWORD 'x' SET privacy.min_group_size = 9", "42601"),
    // Names that pass for another.
    ("SET \"privacy \".epsilon = 1", "42602"),
    ("SET privacу.epsilon = 1", "42602"),
    ("SET \"priv\u{200b}acy\".epsilon = 1", "42602"),
    ("SET pr1vacy.epsilon = 1", "42602"),
    ("CREATE ROLE \"Insights_Admin\"", "42939"),
    ("CREATE ROLE \"insights_admin \"", "42602"),
    ("CREATE ROLE \" auditor\"", "42602"),
    ("CREATE ROLE insights_аdmin", "42939"),
    ("CREATE ROLE \"insights-admin\"", "42939"),
    ("CREATE ROLE aud1tor", "42939"),
    ("CREATE ROLE \"ADMIN\"", "42939"),
    ("CREATE ROLE \"public\"", "42939"),
    ("CREATE ROLE insights_admin", "42710"),
    ("GRANT \"Insights_Analyst\" TO nemo", "42704"),
    ("GRANT insights_analyst TO \"nemo \"", "42704"),
    ("CALL \"Privacy\".waive_training('carrier')", "42883"),
    ("CALL \"privacy.waive_training \"('carrier')", "42883"),
    ("CALL waive_training('carrier')", "42883"),
    ("CREATE VIEW \"privacy.budget\" AS SELECT 1 AS n", "42939"),
    ("CREATE VIEW \"аudit.query_log\" AS SELECT 1 AS n", "42939"),
    ("CREATE EXTERNAL TABLE pg_roles STORED AS CSV LOCATION 'place.csv'", "42939"),
    ("CREATE EXTERNAL TABLE \"person \" STORED AS CSV LOCATION 'place.csv'", "42602"),
    ("SELECT * FROM \"Privacy\".budget", "42P01"),
    ("SELECT * FROM \"audit \".query_log", "42P01"),
    ("SELECT * FROM аudit.query_log", "42P01"),
    ("SELECT * FROM audit.query_log", "42501"),
    // Somebody else, or more than oneself.
    ("SET ROLE ana", "42501"),
    ("SET LOCAL ROLE ana", "42501"),
    ("SET SESSION ROLE ana", "42501"),
    ("SET ROLE TO ana", "42501"),
    ("SET \"role\" = 'ana'", "42501"),
    ("SET SESSION AUTHORIZATION ana", "42501"),
    ("SET LOCAL SESSION AUTHORIZATION ana", "42501"),
    ("SET session_authorization = 'ana'", "42501"),
    ("GRANT insights_analyst TO admin", "42501"),
    ("GRANT insights_analyst TO admin GRANTED BY nemo", "0A000"),
    ("GRANT insights_analyst TO nemo, admin", "42501"),
    ("GRANT ana TO admin", "42501"),
    ("GRANT auditor TO ana", "42501"),
    ("CREATE ROLE both IN ROLE insights_analyst, insights_admin", "42501"),
    ("CREATE ROLE both CREATEROLE IN ROLE insights_analyst", "42501"),
    ("CREATE ROLE helper SUPERUSER", "42501"),
    ("CREATE ROLE helper BYPASSRLS", "42501"),
    ("ALTER ROLE admin NOLOGIN", "42501"),
    ("DROP ROLE admin", "42501"),
    ("DROP ROLE nemo, admin", "42501"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_changes_nothing_and_is_logged() {
    let server = staffed().await;
    let (admin, reader) = (server.admin().await, login(&server, "otto").await);
    let before = epoch(&reader).await;
    let state = "SELECT string_agg(rolname || rolcanlogin || rolcreaterole, ',' ORDER BY rolname) FROM pg_roles";
    let (roles, shown) = (value(&admin, state).await, rows(&admin, "SHOW ALL").await);
    let mut wrong = Vec::new();
    for (sql, sqlstate) in BY_ADMIN {
        let found = refusal(&admin, sql).await;
        match found {
            Some(found) if found.sqlstate == *sqlstate && (found.hint.is_some() || *sqlstate == SYNTAX_ERROR) => {}
            Some(found) => wrong.push(format!("{sql}: {found}")),
            None => wrong.push(format!("{sql}: answered")),
        }
        let logged = format!(
            "SELECT count(*) FROM audit.query_log WHERE principal = 'admin' AND outcome = 'refused' AND sqlstate = '{sqlstate}' \
             AND id = (SELECT max(id) FROM audit.query_log WHERE principal = 'admin')"
        );
        if number(&reader, &logged).await != 1.0 {
            wrong.push(format!("{sql}: not in the log"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(epoch(&reader).await, before, "a refusal changed something");
    assert_eq!(value(&admin, state).await, roles);
    assert_eq!(rows(&admin, "SHOW ALL").await, shown);
}

/// `search_path` leads nowhere: names without a schema are tables of `public`, whatever it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_path_opens_nothing() {
    let server = staffed().await;
    let ana = login(&server, "ana").await;
    run(&login(&server, "carol").await, "REVOKE SELECT ON place FROM insights_analyst").await;
    for path in
        ["audit", "privacy, audit, public", "\"$user\", pg_catalog, audit", "\"public.place\"", "information_schema"]
    {
        run(&ana, &format!("SET search_path = {path}")).await;
        for sql in ["SELECT * FROM query_log", "SELECT * FROM changes", "SELECT * FROM place", "SELECT * FROM person"] {
            let refusal = refused(&ana, sql).await;
            assert!(["42P01", "42501"].contains(&refusal.sqlstate.as_str()), "{sql}: {refusal}");
            assert!(refusal.hint.is_some(), "{sql}: {refusal}");
        }
        assert_eq!(refused(&ana, "SELECT * FROM audit.query_log").await.sqlstate, "42501");
        value(&ana, "SELECT count(*) FROM person").await;
    }
}

async fn connect_with(server: &TestServer, user: &str, options: &str) -> Result<tokio_postgres::Client, Refusal> {
    let address = server.address();
    let connected = Config::new()
        .host(address.ip().to_string())
        .port(address.port())
        .user(user)
        .password(user)
        .dbname("paravent")
        .options(options)
        .connect(NoTls)
        .await;
    let (client, connection) = connected.map_err(Refusal::of)?;
    tokio::spawn(connection);
    Ok(client)
}

/// What `SET` refuses, the first message does not bring about either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_at_the_start_are_held_to_the_same_rules() {
    let server = staffed().await;
    for (options, sqlstate) in [
        ("-c privacy.min_group_size=9", "42501"),
        ("-cprivacy.min_group_size=9", "42501"),
        ("--privacy.min-group-size=9", "42501"),
        ("-c geqo=off -c PRIVACY.MASK_LOW=0", "42501"),
        ("-c privacy.epsilon=2", "22023"),
        ("-c role=admin", "42501"),
        ("-c session_authorization=admin", "42501"),
        ("-c privacу.epsilon=1", "42602"),
        ("-c no_such_parameter=1", "42704"),
        ("-x", "42601"),
    ] {
        let refusal = connect_with(&server, "ana", options).await.err().unwrap_or_else(|| panic!("let in: {options}"));
        assert_eq!(refusal.sqlstate, sqlstate, "{options}: {refusal}");
    }
    let otto = login(&server, "otto").await;
    let logged =
        "SELECT count(*) FROM audit.query_log WHERE principal = 'ana' AND kind = 'CONNECT' AND outcome = 'refused'";
    assert_eq!(number(&otto, logged).await, 9.0);
    let ana = connect_with(&server, "ana", "-c privacy.epsilon=0.25 -c application_name=a\\ b").await.unwrap();
    assert_eq!(value(&ana, "SHOW privacy.epsilon").await, "0.25");
    assert_eq!(value(&ana, "SHOW application_name").await, "a b");
}

/// What a role was given and is no longer allowed keeps nobody out, and is not heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_that_was_lowered_since_holds_for_the_settings_of_roles() {
    let server = staffed().await;
    let carol = login(&server, "carol").await;
    run(&carol, "ALTER ROLE ana SET privacy.epsilon = 0.5").await;
    assert_eq!(value(&login(&server, "ana").await, "SHOW privacy.epsilon").await, "0.5");
    run(&carol, "ALTER SYSTEM SET privacy.epsilon = 0.25").await;
    assert_eq!(value(&login(&server, "ana").await, "SHOW privacy.epsilon").await, "0.25");
}

/// A role that is dropped and made anew under the same name is not the one whose session is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_session_does_not_become_the_next_role_of_its_name() {
    let server = staffed().await;
    let (pat, otto) = (login(&server, "pat").await, login(&server, "otto").await);
    let nemo = login(&server, "nemo").await;
    run(&pat, "DROP ROLE nemo").await;
    let gone = refused(&nemo, "SELECT 1").await;
    assert_eq!(gone.sqlstate, "28000", "{gone}");
    run(&pat, "CREATE ROLE nemo LOGIN PASSWORD 'nemo' IN ROLE insights_analyst").await;
    for sql in ["SELECT 1", "SELECT count(*) FROM person", "SHOW privacy.epsilon", "ALTER ROLE nemo PASSWORD 'mine'"] {
        let old = refused(&nemo, sql).await;
        assert_eq!(old.sqlstate, "28000", "{old}");
        assert!(old.hint.is_some(), "{old}");
    }
    value(&login(&server, "nemo").await, "SELECT count(*) FROM person").await;
    let logged = "SELECT count(*) FROM audit.query_log WHERE principal = 'nemo' AND sqlstate = '28000'";
    assert_eq!(number(&otto, logged).await, 10.0, "both protocols, five statements");

    // Neither does one whose time is over, or that is no login any more.
    let lea = login(&server, "lea").await;
    value(&lea, "SELECT count(*) FROM person").await;
    run(&pat, "ALTER ROLE lea VALID UNTIL '2020-01-01'").await;
    assert_eq!(refused(&lea, "SELECT count(*) FROM person").await.sqlstate, "28000");
    run(&pat, "ALTER ROLE lea VALID UNTIL 'infinity'").await;
    value(&lea, "SELECT count(*) FROM person").await;
    run(&pat, "ALTER ROLE lea NOLOGIN").await;
    assert_eq!(refused(&lea, "SELECT count(*) FROM person").await.sqlstate, "28000");
}
