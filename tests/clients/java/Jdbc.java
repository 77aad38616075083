// JDBC: what BI tools in Java call at connect and while browsing; fetch size; prepared statements.

import java.sql.*;
import java.time.LocalDate;
import java.util.*;

public class Jdbc {
    static final String QUESTION = "SELECT function, count(*) AS persons, avg(after_hours) AS hours "
        + "FROM person JOIN person_week USING (person_id) GROUP BY function ORDER BY persons DESC";

    interface Body { void run() throws Exception; }
    interface Read { ResultSet run() throws Exception; }

    static void check(String name, Body body) {
        try {
            body.run();
            say(name, "ok", "");
        } catch (Throwable error) {
            say(name, "FAILED", String.valueOf(error.getMessage()));
        }
    }

    static void say(String check, String verdict, String reason) {
        reason = reason.replaceAll("\\s+", " ");
        System.out.println(String.join("\t", "JDBC", check, verdict, reason.substring(0, Math.min(300, reason.length()))));
    }

    static void isTrue(boolean condition, Object what) {
        if (!condition) throw new AssertionError(what);
    }

    /** The rows, by the named columns. */
    static List<List<String>> rows(ResultSet found, String... columns) throws SQLException {
        List<List<String>> rows = new ArrayList<>();
        while (found.next()) {
            List<String> row = new ArrayList<>();
            for (String column : columns) row.add(found.getString(column));
            rows.add(row);
        }
        found.close();
        return rows;
    }

    static List<List<String>> answer(ResultSet found) throws SQLException {
        List<List<String>> rows = rows(found, "function", "persons", "hours");
        isTrue(rows.size() >= 5, rows);
        isTrue(Long.parseLong(rows.get(0).get(1)) >= Long.parseLong(rows.get(1).get(1)), rows);
        return rows;
    }

    public static void main(String[] given) throws Exception {
        String url = "jdbc:postgresql://" + System.getenv().getOrDefault("PGHOST", "127.0.0.1") + ":"
            + System.getenv().getOrDefault("PGPORT", "5433") + "/paravent";
        Connection c = DriverManager.getConnection(url, "analyst_1", "analyst");
        DatabaseMetaData meta = c.getMetaData();

        check("a question", () -> answer(c.createStatement().executeQuery(QUESTION)));
        check("getTables", () -> {
            List<List<String>> tables = rows(meta.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"}), "TABLE_NAME", "TABLE_TYPE", "REMARKS");
            isTrue(tables.toString().contains("person_week, TABLE"), tables);
        });
        check("getColumns", () -> {
            List<List<String>> columns = rows(meta.getColumns(null, "public", "person_week", "%"), "COLUMN_NAME", "TYPE_NAME", "REMARKS", "IS_NULLABLE");
            isTrue(columns.toString().contains("after_hours, float8, measure"), columns);
        });
        check("getPrimaryKeys", () -> {
            List<List<String>> keys = rows(meta.getPrimaryKeys(null, "public", "person_week"), "COLUMN_NAME", "KEY_SEQ");
            isTrue(keys.toString().equals("[[person_id, 1], [week, 2]]"), keys);
        });
        check("getImportedKeys", () -> rows(meta.getImportedKeys(null, "public", "person_week"), "PKTABLE_NAME"));
        check("getExportedKeys", () -> rows(meta.getExportedKeys(null, "public", "person"), "FKTABLE_NAME"));
        check("getIndexInfo", () -> {
            List<List<String>> found = rows(meta.getIndexInfo(null, "public", "person", true, true), "INDEX_NAME", "COLUMN_NAME");
            isTrue(found.toString().contains("person_pkey, person_id"), found);
        });
        Map<String, Read> reads = new LinkedHashMap<>();
        reads.put("getSchemas", meta::getSchemas);
        reads.put("getCatalogs", meta::getCatalogs);
        reads.put("getTableTypes", meta::getTableTypes);
        reads.put("getTypeInfo", meta::getTypeInfo);
        reads.put("getBestRowIdentifier", () -> meta.getBestRowIdentifier(null, "public", "person", DatabaseMetaData.bestRowSession, true));
        reads.put("getTablePrivileges", () -> meta.getTablePrivileges(null, "public", "person"));
        reads.put("getColumnPrivileges", () -> meta.getColumnPrivileges(null, "public", "person", "%"));
        reads.put("getProcedures", () -> meta.getProcedures(null, "public", "%"));
        reads.put("getFunctions", () -> meta.getFunctions(null, "public", "%"));
        reads.put("getFunctionColumns", () -> meta.getFunctionColumns(null, "public", "%", "%"));
        reads.put("getUDTs", () -> meta.getUDTs(null, "public", "%", null));
        reads.put("getClientInfoProperties", meta::getClientInfoProperties);
        Set<String> nothingIsFine = Set.of("getTablePrivileges", "getColumnPrivileges", "getProcedures", "getFunctions", "getFunctionColumns", "getUDTs", "getClientInfoProperties");
        reads.forEach((name, read) -> check(name, () -> {
            ResultSet found = read.run();
            isTrue(found.next() || nothingIsFine.contains(name), "nothing");
            found.close();
        }));
        check("versions and keywords", () -> {
            isTrue(meta.getDatabaseMajorVersion() == 16, meta.getDatabaseProductVersion());
            meta.getSQLKeywords();
            meta.getMaxConnections();
            meta.getMaxColumnNameLength();
            isTrue(c.isValid(5), "not valid");
        });
        check("prepared, with parameters", () -> {
            PreparedStatement s = c.prepareStatement("SELECT level, count(*) FROM person WHERE country = ? AND hired < ? GROUP BY level LIMIT ?");
            for (int n = 0; n < 7; n++) { // the driver prepares by name at the fifth
                s.setString(1, "DE");
                s.setObject(2, LocalDate.of(2030, 1, 1));
                s.setInt(3, 2);
                isTrue(rows(s.executeQuery(), "level").size() == 2, "rows");
            }
            isTrue(s.getParameterMetaData().getParameterCount() == 3, "parameters");
            isTrue(s.getMetaData().getColumnCount() == 2, "columns");
        });
        check("a list as parameter", () -> {
            PreparedStatement s = c.prepareStatement("SELECT level, count(*) FROM person WHERE country = ANY(?) GROUP BY level");
            s.setArray(1, c.createArrayOf("text", new String[] {"DE", "FR"}));
            isTrue(!rows(s.executeQuery(), "level").isEmpty(), "rows");
        });
        check("fetch size", () -> {
            List<List<String>> plain = answer(c.createStatement().executeQuery(QUESTION));
            c.setAutoCommit(false);
            Statement s = c.createStatement();
            s.setFetchSize(2);
            isTrue(answer(s.executeQuery(QUESTION)).equals(plain), "other rows");
            c.commit();
            c.setAutoCommit(true);
        });
        check("types", () -> {
            PreparedStatement s = c.prepareStatement("SELECT true, 7::int, 7::bigint, 1.5::float8, 12.50::numeric(6,2), 'x'::text, "
                + "'2024-02-29'::date, '2024-02-29 12:30:01.25'::timestamp, ARRAY[1, 2], NULL::text");
            for (int n = 0; n < 7; n++) {
                ResultSet r = s.executeQuery();
                r.next();
                isTrue(r.getBoolean(1) && r.getInt(2) == 7 && r.getLong(3) == 7 && r.getDouble(4) == 1.5, "numbers");
                isTrue(r.getBigDecimal(5).toPlainString().equals("12.50"), r.getBigDecimal(5));
                isTrue(r.getObject(7, LocalDate.class).equals(LocalDate.of(2024, 2, 29)), r.getString(7));
                isTrue(r.getTimestamp(8).toString().equals("2024-02-29 12:30:01.25"), r.getString(8));
                isTrue(((Object[]) r.getArray(9).getArray()).length == 2 && r.getString(10) == null, "array");
            }
        });
        check("result set metadata", () -> {
            ResultSetMetaData columns = c.createStatement().executeQuery(QUESTION).getMetaData();
            isTrue(columns.getColumnTypeName(3).equals("float8") && columns.getTableName(1) != null, columns.getColumnTypeName(3));
        });
        check("read-only, isolation, savepoints", () -> {
            c.setReadOnly(true);
            c.setAutoCommit(false);
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            Savepoint before = c.setSavepoint("before");
            try {
                c.createStatement().executeQuery("SELECT * FROM person");
            } catch (SQLException refused) {
                c.rollback(before);
            }
            isTrue(rows(c.createStatement().executeQuery("SELECT 1 AS one"), "one").size() == 1, "row");
            c.rollback();
            c.setAutoCommit(true);
            c.setReadOnly(false);
        });
        check("schema and network timeout", () -> {
            isTrue("public".equals(c.getSchema()), c.getSchema());
            c.setSchema("public");
            Statement s = c.createStatement();
            s.setQueryTimeout(20);
            answer(s.executeQuery(QUESTION));
        });
        check("COPY", () -> {
            var copy = c.unwrap(org.postgresql.PGConnection.class).getCopyAPI();
            var out = new java.io.ByteArrayOutputStream();
            copy.copyOut("COPY (" + QUESTION + ") TO STDOUT (FORMAT csv)", out);
            isTrue(out.toString().lines().count() >= 5, out);
        });
        check("COPY FROM", () -> {
            Connection admin = DriverManager.getConnection(url, "admin", "admin");
            Statement s = admin.createStatement();
            s.execute("DROP TABLE IF EXISTS loaded_jdbc");
            s.execute("CREATE TABLE loaded_jdbc (id integer, name text) WITH (public = true)");
            s.execute("GRANT SELECT ON loaded_jdbc TO insights_analyst");
            var copy = admin.unwrap(org.postgresql.PGConnection.class).getCopyAPI();
            String load = "COPY loaded_jdbc FROM STDIN WITH (FORMAT csv, HEADER)";
            isTrue(copy.copyIn(load, new java.io.StringReader("id,name\n1,a\n2,\n")) == 2, "rows");
            try {
                copy.copyIn(load, new java.io.StringReader("id,name\nx,a\n"));
                throw new AssertionError("not refused");
            } catch (SQLException refused) {
                isTrue(refused.getSQLState().equals("22P02"), refused.getSQLState());
            }
            var begun = copy.copyIn("COPY loaded_jdbc FROM STDIN");
            begun.writeToCopy("3\tc\n".getBytes(), 0, 4);
            begun.cancelCopy();
            ResultSet found = c.createStatement().executeQuery("SELECT id, name FROM loaded_jdbc ORDER BY id");
            isTrue(rows(found, "id", "name").toString().equals("[[1, a], [2, null]]"), "other rows");
            s.execute("DROP TABLE loaded_jdbc");
            admin.close();
        });
        check("refused, then usable", () -> {
            try {
                c.createStatement().executeQuery("SELECT * FROM person");
                throw new AssertionError("not refused");
            } catch (SQLException refused) {
                isTrue(refused.getSQLState().equals("42501"), refused.getSQLState());
            }
            answer(c.createStatement().executeQuery(QUESTION));
        });
        c.close();
    }
}
