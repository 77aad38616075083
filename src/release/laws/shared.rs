//! Releases that run at once give what each gives by itself, and read what they have in common once.

use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use futures::future::try_join_all;
use paravent_udfs::{Together, plan_together};
use std::sync::Arc;
use std::task::Poll;

use super::*;
use crate::release::Engine;

/// Statements whose releases have much in common.
const SHARING: [&str; 12] = [
    "SELECT country, season, avg(hours), count(*) FROM person JOIN week USING (id) JOIN calendar USING (week) GROUP BY GROUPING SETS ((country), (season), ())",
    "SELECT country, week % 3, sum(hours), count(*) FROM person JOIN week USING (id) GROUP BY ROLLUP (country, week % 3)",
    "SELECT country, week % 3, sum(hours), median(hours), count(DISTINCT week) FROM person JOIN week USING (id) WHERE week > 2 GROUP BY CUBE (country, week % 3)",
    "SELECT upper(country), country, count(*), share(hours > 9) FROM person JOIN week USING (id) GROUP BY CUBE (upper(country), country)",
    "SELECT * FROM (SELECT avg(hours) FROM week WHERE week > 3) a, (SELECT week, count(*) FROM week WHERE week > 3 GROUP BY week) b",
    "SELECT * FROM (SELECT sum(size) FROM mail WHERE size > 9) a, (SELECT count(*) FROM mail WHERE size > 9) b, (SELECT median(size) FROM mail) c",
    "WITH x AS (SELECT week, avg(hours) AS h FROM week GROUP BY week) SELECT * FROM x UNION ALL SELECT * FROM x",
    "WITH m AS (SELECT id, count(*) AS n, sum(size) AS s FROM mail GROUP BY id) SELECT (SELECT avg(n) FROM m), (SELECT sum(s) FROM m WHERE n > 3), (SELECT count(*) FROM m JOIN person USING (id) WHERE country = 'DE')",
    "SELECT season, week % 4, sum(hours) FROM week LEFT JOIN calendar USING (week) GROUP BY CUBE (season, week % 4)",
    "SELECT w.week % 5, upper(p.country), count(*), sum(w.hours) FROM person p RIGHT JOIN week w ON p.id = w.id GROUP BY CUBE (w.week % 5, upper(p.country))",
    "SELECT a.week % 3, b.week % 2, sum(a.hours - b.hours) FROM week a JOIN week b ON a.id = b.id AND a.week = b.week + 1 GROUP BY CUBE (a.week % 3, b.week % 2)",
    "SELECT country, week % 3, count(*) FILTER (WHERE hours > 20), sum(hours) FROM person JOIN week USING (id) GROUP BY ROLLUP (country, week % 3)",
];

async fn together(state: &SessionState, releases: &[&Release], sources: &Sources) -> Together {
    let plans = releases.iter().map(|release| first_groups(bind(release.input(), sources, &[]).unwrap())).collect();
    plan_together(plans, Noise::from_os(), state).await.unwrap()
}

/// What each release gives when all of them run at once.
async fn at_once(state: &SessionState, releases: &[&Release], sources: &Sources) -> Vec<Exact> {
    let together = together(state, releases, sources).await;
    let run = try_join_all(together.plans.into_iter().map(|plan| {
        let task = state.task_ctx();
        async move { tokio::spawn(collect(plan, task)).await.unwrap() }
    }));
    let batches = tokio::time::timeout(std::time::Duration::from_secs(120), run).await.unwrap().unwrap();
    releases.iter().zip(&batches).map(|(release, batches)| groups(release.spec(), batches)).collect()
}

async fn by_itself(state: &SessionState, releases: &[&Release], sources: &Sources) -> Vec<Exact> {
    let mut all = Vec::new();
    for release in releases {
        all.push(exact(state, release, sources).await.unwrap());
    }
    all
}

fn same_at_once(statements: &[String], people: &[Person], partitions: usize) {
    let verified: Vec<_> = statements.iter().filter_map(|sql| compile_in(&context(sql), sql).ok()).collect();
    let releases = verified.iter().flat_map(|verified| verified.releases());
    let releases: Vec<&Release> = releases.filter(|release| !reads_a_release(release)).map(release_of).collect();
    let numbered: Vec<(i64, &Person)> = people.iter().enumerate().map(|(id, p)| (id as i64, p)).collect();
    let sources = sources(&numbered, Layout::Shuffled);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let state = state(partitions);
        let (apart, at_once) =
            (by_itself(&state, &releases, &sources).await, at_once(&state, &releases, &sources).await);
        for ((release, apart), at_once) in releases.iter().zip(apart).zip(at_once) {
            assert_eq!(apart, at_once, "{}\namong {statements:#?}", release.input().display_indent());
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, max_shrink_iters: 8, ..ProptestConfig::default() })]

    #[test]
    fn releases_give_the_same_at_once(people in prop::collection::vec(person(), 1..8), partitions in 1..4_usize) {
        for statements in SHARING.chunks(3).chain(QUESTIONS.chunks(7)) {
            let statements: Vec<String> = statements.iter().map(|sql| (*sql).to_owned()).collect();
            same_at_once(&statements, &people, partitions);
        }
        for sql in SHARING {
            same_at_once(&[sql.to_owned()], &people, partitions);
        }
    }

    #[test]
    fn random_questions_give_the_same_at_once(
        people in prop::collection::vec(person(), 1..8),
        partitions in 1..4_usize,
        seeds in prop::collection::vec(any::<u64>(), 24),
    ) {
        for seeds in seeds.chunks(8) {
            let statements: Vec<String> = seeds.iter().map(|seed| question(*seed)).collect();
            same_at_once(&statements, &people, partitions);
        }
    }
}

fn scans(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let here = usize::from(plan.downcast_ref::<DataSourceExec>().is_some());
    here + plan.children().into_iter().map(scans).sum::<usize>()
}

/// How many scans there are, each by itself and at once.
#[tokio::test]
async fn what_releases_have_in_common_is_read_once() {
    let people: Vec<Person> = (0..9)
        .map(|n| Person { country: n % 3, weeks: BTreeMap::from([(n as i32, 9.0)]), mails: vec![7; n] })
        .collect();
    let numbered: Vec<(i64, &Person)> = people.iter().enumerate().map(|(id, p)| (id as i64, p)).collect();
    let sources = sources(&numbered, Layout::AsIs);
    let state = state(2);
    for (sql, apart, at_once) in [
        (
            "SELECT country, avg(hours), median(hours), count(DISTINCT id) FROM person JOIN week USING (id) GROUP BY country",
            2,
            2,
        ),
        (SHARING[0], 9, 3),
        (SHARING[1], 6, 2),
        (SHARING[2], 8, 2),
        (SHARING[4], 2, 1),
        // Conditions on a measure are columns, and take no row away.
        (SHARING[5], 3, 1),
        ("SELECT * FROM (SELECT count(*) FROM week WHERE week > 3) a, (SELECT count(*) FROM week) b", 2, 2),
        (SHARING[6], 1, 1),
        (SHARING[7], 4, 2),
        // Two scans of one release are two.
        (SHARING[10], 8, 2),
    ] {
        let verified = compile(sql).unwrap();
        let releases: Vec<&Release> = verified.releases().iter().map(release_of).collect();
        let mut each = 0;
        for release in &releases {
            let plan = first_groups(bind(release.input(), &sources, &[]).unwrap());
            each += scans(&state.query_planner().create_physical_plan(&plan, &state).await.unwrap());
        }
        let all = together(&state, &releases, &sources).await;
        let shown: Vec<String> = all
            .shared
            .iter()
            .chain(&all.plans)
            .map(|plan| displayable(plan.as_ref()).indent(false).to_string())
            .collect();
        let shared: usize = all.shared.iter().chain(&all.plans).map(scans).sum();
        assert_eq!((each, shared), (apart, at_once), "{sql}\n{}", shown.join("\n"));
    }
}

/// Groups of persons' attributes, none of which is finer than the other: sums by person below the join serve both.
const BY_PERSON: &str = "SELECT country, length(country), sum(hours) FROM person JOIN week USING (id) GROUP BY GROUPING SETS ((country), (length(country)))";

/// The finest grouping is made of the rows, and the others of what it gives.
#[tokio::test]
async fn one_pass_by_person_serves_a_cube() {
    let sources = sources(&[], Layout::Shuffled);
    let state = state(2);
    for (sql, passes) in [(SHARING[1], 1), (SHARING[9], 1), (SHARING[11], 1), (BY_PERSON, 1)] {
        let verified = compile(sql).unwrap();
        let releases: Vec<&Release> = verified.releases().iter().map(release_of).collect();
        let all = together(&state, &releases, &sources).await;
        let of_rows = all.shared.iter().chain(&all.plans).filter(|plan| scans(plan) > 0);
        let shown: Vec<String> = of_rows.map(|plan| displayable(plan.as_ref()).indent(false).to_string()).collect();
        assert_eq!(
            shown.concat().matches("ByPersonExec: AggregateExec: mode=Partial").count(),
            passes,
            "{sql}\n{}",
            shown.join("\n")
        );
    }
}

/// Through the engine, with noise that is nothing: the same measured rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_releases_the_same_at_once() {
    let sources = company(90);
    let engine = Engine::new(Noise::zero(), Arc::new(RuntimeEnv::default()));
    let mut rows = 0;
    for sql in SHARING {
        let verified = compile(sql).unwrap();
        let plans: Vec<_> = verified.releases().iter().map(|release| release.plan()).collect();
        let at_once = engine.releases(&plans, &sources, &[]).await.unwrap();
        for (plan, at_once) in plans.iter().zip(at_once) {
            let apart = engine.release(plan, &sources, &[]).await.unwrap();
            // Which groups of a person count is chosen at random, but nobody has more than may count.
            assert_eq!(apart, at_once, "{sql}");
            rows += apart.num_rows();
        }
    }
    assert!(rows > 40, "{rows}");
}

fn company(persons: usize) -> Sources {
    let person =
        |n: usize| Person { country: n % 3, weeks: (0..30).map(|week| (week, 9.0)).collect(), mails: vec![7; n % 5] };
    let people: Vec<Person> = (0..persons).map(person).collect();
    sources(&people.iter().enumerate().map(|(id, p)| (id as i64, p)).collect::<Vec<_>>(), Layout::Shuffled)
}

/// With less and less memory: the same rows, or told so, and nothing is held afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_little_memory_they_run_one_by_one_or_say_so() {
    let sources = company(90);
    let verified = compile(SHARING[1]).unwrap();
    let plans: Vec<_> = verified.releases().iter().map(|release| release.plan()).collect();
    let enough = Engine::new(Noise::zero(), Arc::new(RuntimeEnv::default()));
    let all = enough.releases(&plans, &sources, &[]).await.unwrap();
    let mut refused = 0;
    for kilobytes in [1, 100, 200, 400, 600, 800, 1_200, 20_000] {
        let pool = Arc::new(GreedyMemoryPool::new(kilobytes << 10));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
        let engine = Engine::new(Noise::zero(), runtime.clone());
        match engine.releases(&plans, &sources, &[]).await {
            Ok(rows) => assert_eq!(rows, all, "{kilobytes}"),
            Err(error) => {
                assert_eq!(error.sqlstate.code(), "53200", "{kilobytes}: {error}");
                refused += 1;
            }
        }
        nothing_held(&runtime).await;
    }
    assert!((1..8).contains(&refused), "{refused}");
}

/// Who goes away in the midst of it leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_they_end_all_at_once() {
    let sources = company(300);
    let verified = compile(SHARING[10]).unwrap();
    let plans: Vec<_> = verified.releases().iter().map(|release| release.plan()).collect();
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(1 << 30))).build_arc().unwrap();
    let engine = Engine::new(Noise::zero(), runtime.clone());
    let mut begun = 0;
    for polls in [1, 2, 3, 5, 9, 20] {
        let mut run = Box::pin(engine.releases(&plans, &sources, &[]));
        for _ in 0..polls {
            let done = std::future::poll_fn(|context| Poll::Ready(run.as_mut().poll(context).is_ready())).await;
            assert!(!done, "it took but {polls} polls");
            while runtime.memory_pool.reserved() == 0 && polls > 5 {
                tokio::task::yield_now().await;
            }
        }
        begun += usize::from(runtime.memory_pool.reserved() > 0);
        drop(run);
        nothing_held(&runtime).await;
    }
    assert!(begun > 0);
}

async fn nothing_held(runtime: &RuntimeEnv) {
    let freed = async {
        while runtime.memory_pool.reserved() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), freed).await.unwrap();
}
