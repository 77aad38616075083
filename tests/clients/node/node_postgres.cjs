// node-postgres (pg) and pg-cursor.
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const { QUESTION, REFUSED, target, suite, isTrue, answer } = require('./harness.cjs');

(async () => {
  const check = suite('node-postgres');
  const client = new Client(target);
  await client.connect();

  await check('a question', async () => answer((await client.query(QUESTION)).rows));

  await check('parameters', async () => {
    const sql = 'SELECT level, count(*) FROM person WHERE country = $1 AND hired < $2 GROUP BY level LIMIT $3';
    const { rows } = await client.query(sql, ['DE', new Date('2030-01-01'), 2]);
    isTrue(rows.length === 2, `${rows.length} rows`);
  });

  await check('a list as parameter', async () => {
    const sql = 'SELECT level, count(*) FROM person WHERE country = ANY($1) GROUP BY level';
    const { rows } = await client.query(sql, [['DE', 'FR']]);
    isTrue(rows.length > 0, 'no rows');
  });

  await check('prepared by name', async () => {
    const first = await client.query({ name: 'question', text: QUESTION });
    const second = await client.query({ name: 'question', text: QUESTION });
    isTrue(answer(first.rows) === answer(second.rows), 'other rows');
  });

  await check('cursor in steps', async () => {
    const cursor = client.query(new Cursor(QUESTION));
    const rows = [];
    for (let part = await cursor.read(2); part.length; part = await cursor.read(2)) rows.push(...part);
    await cursor.close();
    answer(rows);
  });

  await check('several statements in one string', async () => {
    const results = await client.query('SELECT 1 AS a; SELECT 2 AS b;');
    isTrue(results.length === 2 && results[1].rows[0].b === 2, 'not two results');
  });

  await check('pool', async () => {
    const pool = new Pool({ ...target, max: 2 });
    const results = await Promise.all([1, 2, 3].map((n) => pool.query('SELECT $1::int AS n', [n])));
    isTrue(results.every((result, at) => result.rows[0].n === at + 1), 'mixed up');
    await pool.end();
  });

  await check('settings at the start', async () => {
    const other = new Client({ ...target, statement_timeout: 9000, application_name: 'node', options: '-c search_path=public' });
    await other.connect();
    const { rows } = await other.query('SHOW statement_timeout');
    isTrue(rows[0].statement_timeout === '9s', JSON.stringify(rows));
    await other.end();
  });

  await check('refused, then usable', async () => {
    const error = await client.query(REFUSED).then(() => null, (error) => error);
    isTrue(error && error.code === '42501' && error.detail && error.hint, 'not refused as it should');
    answer((await client.query(QUESTION)).rows);
  });

  await client.end();
})();
