//! Declared keys: they stay true, and a load tells nobody which persons are there.

use crate::client::{Loader, files, told};
use crate::public_table;
use crate::support::{TestServer, rows, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_one_key_refuse_the_load_and_known_ones_are_left_out() {
    let server = TestServer::start().await.with_people().await;
    public_table(&server, "t", "id integer PRIMARY KEY, code text UNIQUE, size integer").await;
    let mut admin = Loader::admin(&server).await;
    assert_eq!(admin.copy("COPY t FROM STDIN CSV", "1,a,10\n2,b,20\n").await, Ok("COPY 2".to_owned()));
    for (data, expected) in
        [("3,c,1\n3,d,1\n", "23505"), ("3,c,1\n4,c,1\n", "23505"), (",c,1\n", "23502"), ("3,,1\n", "23502")]
    {
        assert_eq!(admin.copy("COPY t FROM STDIN CSV", data).await.unwrap_err().0, expected, "{data}");
    }
    // What is told is the same, whatever the table has.
    let new = admin.messages("COPY t FROM STDIN CSV", b"3,c,30\n4,d,40\n", 100).await;
    let known = admin.messages("COPY t FROM STDIN CSV", b"1,e,0\n5,a,0\n", 100).await;
    let mixed = admin.messages("COPY t FROM STDIN CSV", b"6,f,60\n1,g,0\n", 100).await;
    assert_eq!(told(&new), Ok("COPY 2".to_owned()));
    assert_eq!(new, known);
    assert_eq!(new, mixed);
    let analyst = server.analyst().await;
    let found = rows(&analyst, "SELECT id, code, size FROM t ORDER BY id").await;
    let found: Vec<String> =
        found.into_iter().map(|row| row.into_iter().map(Option::unwrap).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(found, ["1 a 10", "2 b 20", "3 c 30", "4 d 40", "6 f 60"]);
    assert!(files(&server).iter().all(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')));
}

/// Loads at the same time, with the same keys, through two servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_loads_at_the_same_time_each_key_is_kept_once() {
    let server = TestServer::start().await.with_people().await;
    public_table(&server, "t", "id integer PRIMARY KEY, who integer").await;
    let another = server.another().await;
    let mut loads = Vec::new();
    for who in 0..6 {
        let mut loader = Loader::admin(if who % 2 == 0 { &server } else { &another }).await;
        loads.push(tokio::spawn(async move {
            let data: String = (0..100).map(|id| format!("{id}\t{who}\n")).collect();
            loader.copy("COPY t FROM STDIN", data).await
        }));
    }
    for load in loads {
        assert_eq!(load.await.unwrap(), Ok("COPY 100".to_owned()));
    }
    let analyst = server.analyst().await;
    let found = rows(&analyst, "SELECT count(*), count(DISTINCT id) FROM t").await;
    assert_eq!(found, vec![vec![Some("100".to_owned()), Some("100".to_owned())]]);
    run(&server.admin().await, "ALTER TABLE t ADD UNIQUE (id)").await;
}
