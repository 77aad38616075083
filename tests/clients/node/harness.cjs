// One line a check, as in python/harness.py.
const QUESTION =
  'SELECT function, count(*) AS persons, avg(after_hours) AS hours ' +
  'FROM person JOIN person_week USING (person_id) GROUP BY function ORDER BY persons DESC';

const target = {
  host: process.env.PGHOST || '127.0.0.1',
  port: Number(process.env.PGPORT || 5433),
  database: 'paravent',
  user: 'analyst_1',
  password: 'analyst',
};

function suite(client) {
  const say = (check, verdict, reason = '') =>
    console.log([client, check, verdict, String(reason).replace(/\s+/g, ' ').slice(0, 300)].join('\t'));
  return async (name, body) => {
    try {
      await body();
      say(name, 'ok');
    } catch (error) {
      say(name, 'FAILED', error.message);
    }
  };
}

function isTrue(condition, what) {
  if (!condition) throw new Error(what);
}

function answer(rows) {
  isTrue(rows.length >= 5, `${rows.length} rows`);
  const counts = rows.map((row) => Number(row.persons));
  isTrue(counts.every((count, at) => at === 0 || count <= counts[at - 1]), 'the order is lost');
  isTrue(rows.every((row) => typeof row.function === 'string' && row.hours >= 0 && row.hours <= 20), 'odd values');
  return JSON.stringify(rows);
}

module.exports = { QUESTION, REFUSED: 'SELECT * FROM person', target, suite, isTrue, answer };
