// postgres.js: pipelines by itself and reads its array types from the catalog at the start.
const postgres = require('postgres');
const { QUESTION, REFUSED, target, suite, isTrue, answer } = require('./harness.cjs');

(async () => {
  const check = suite('postgres.js');
  const { user, ...rest } = target;
  const sql = postgres({ ...rest, username: user, max: 2, onnotice: () => {} });

  await check('a question', async () => answer(await sql.unsafe(QUESTION)));

  await check('parameters', async () => {
    const rows = await sql`
      SELECT level, count(*) FROM person WHERE country = ${'DE'} AND hired < ${new Date('2030-01-01')}
      GROUP BY level LIMIT ${2}`;
    isTrue(rows.length === 2, `${rows.length} rows`);
  });

  await check('lists', async () => {
    const rows = await sql`SELECT level, count(*) FROM person WHERE country IN ${sql(['DE', 'FR'])} GROUP BY level`;
    isTrue(rows.length > 0, 'no rows');
  });

  await check('arrays and dates back', async () => {
    const [row] = await sql`SELECT ARRAY[1, 2] AS list, date '2024-02-29' AS day, true AS yes`;
    isTrue(row.list.length === 2 && row.day instanceof Date && row.yes === true, JSON.stringify(row));
  });

  await check('cursor', async () => {
    const rows = [];
    await sql.unsafe(QUESTION).cursor(2, (part) => { rows.push(...part); });
    answer(rows);
  });

  await check('transaction', async () => {
    await sql.begin(async (inside) => answer(await inside.unsafe(QUESTION)));
  });

  await check('COPY to a stream', async () => {
    const stream = await sql`COPY (SELECT 1 AS a, 'x' AS b) TO STDOUT`.readable();
    let text = '';
    for await (const part of stream) text += part;
    isTrue(text === '1\tx\n', JSON.stringify(text));
  });

  await check('refused, then usable', async () => {
    const error = await sql.unsafe(REFUSED).then(() => null, (error) => error);
    isTrue(error && error.code === '42501', 'not refused');
    answer(await sql.unsafe(QUESTION));
  });

  await sql.end();
})();
