-- TPC-H as data about people: the customer is the person. An order belongs to its customer, a line item to the customer of its
-- order; nations, parts and suppliers are nobody's.

CREATE EXTERNAL TABLE region   STORED AS PARQUET LOCATION 'tpch/region.parquet';
CREATE EXTERNAL TABLE nation   STORED AS PARQUET LOCATION 'tpch/nation.parquet';
CREATE EXTERNAL TABLE part     STORED AS PARQUET LOCATION 'tpch/part.parquet';
CREATE EXTERNAL TABLE supplier STORED AS PARQUET LOCATION 'tpch/supplier.parquet';
CREATE EXTERNAL TABLE partsupp STORED AS PARQUET LOCATION 'tpch/partsupp.parquet';
CREATE EXTERNAL TABLE customer STORED AS PARQUET LOCATION 'tpch/customer.parquet';
CREATE EXTERNAL TABLE orders   STORED AS PARQUET LOCATION 'tpch/orders.parquet';
CREATE EXTERNAL TABLE lineitem STORED AS PARQUET LOCATION 'tpch/lineitem.parquet';

ALTER TABLE region   ADD PRIMARY KEY (r_regionkey);
ALTER TABLE nation   ADD PRIMARY KEY (n_nationkey);
ALTER TABLE part     ADD PRIMARY KEY (p_partkey);
ALTER TABLE supplier ADD PRIMARY KEY (s_suppkey);
ALTER TABLE partsupp ADD PRIMARY KEY (ps_partkey, ps_suppkey);
ALTER TABLE customer ADD PRIMARY KEY (c_custkey);
ALTER TABLE orders   ADD PRIMARY KEY (o_orderkey);
ALTER TABLE lineitem ADD PRIMARY KEY (l_orderkey, l_linenumber);

ALTER TABLE region   SET (public = true);
ALTER TABLE nation   SET (public = true);
ALTER TABLE part     SET (public = true);
ALTER TABLE supplier SET (public = true);
ALTER TABLE partsupp SET (public = true);
-- A public column that is summed with persons' needs bounds as theirs do.
ALTER TABLE partsupp ALTER COLUMN ps_supplycost SET (lower = 0, upper = 1000);

-- At no scale factor has a customer more orders or line items than this, nor line items in more groups of any question.
ALTER TABLE customer SET (privacy_policy = 'customers', person_key = 'c_custkey');
ALTER TABLE orders   SET (privacy_policy = 'customers', person_key = 'o_custkey', max_rows_per_person = 50);
ALTER TABLE lineitem SET (privacy_policy = 'customers', person_key = 'l_orderkey -> orders.o_custkey', max_rows_per_person = 200, max_groups_per_person = 20);

ALTER TABLE customer ALTER COLUMN c_custkey    SET (class = 'identifier');
ALTER TABLE customer ALTER COLUMN c_name       SET (class = 'identifier');
ALTER TABLE customer ALTER COLUMN c_address    SET (class = 'identifier');
ALTER TABLE customer ALTER COLUMN c_nationkey  SET (class = 'attribute');
ALTER TABLE customer ALTER COLUMN c_phone      SET (class = 'identifier');
ALTER TABLE customer ALTER COLUMN c_acctbal    SET (class = 'measure', lower = -1000, upper = 10000);
ALTER TABLE customer ALTER COLUMN c_mktsegment SET (class = 'attribute');

ALTER TABLE orders ALTER COLUMN o_orderkey      SET (class = 'identifier');
ALTER TABLE orders ALTER COLUMN o_custkey       SET (class = 'identifier');
ALTER TABLE orders ALTER COLUMN o_orderstatus   SET (class = 'attribute');
ALTER TABLE orders ALTER COLUMN o_totalprice    SET (class = 'measure', lower = 0, upper = 600000);
ALTER TABLE orders ALTER COLUMN o_orderdate     SET (class = 'attribute');
ALTER TABLE orders ALTER COLUMN o_orderpriority SET (class = 'attribute');
ALTER TABLE orders ALTER COLUMN o_clerk         SET (class = 'identifier');
ALTER TABLE orders ALTER COLUMN o_shippriority  SET (class = 'attribute');
-- The clerk's words about the order, not the customer's; Q13 searches them.
ALTER TABLE orders ALTER COLUMN o_comment       SET (class = 'attribute');

ALTER TABLE lineitem ALTER COLUMN l_orderkey      SET (class = 'identifier');
ALTER TABLE lineitem ALTER COLUMN l_partkey       SET (class = 'attribute');
ALTER TABLE lineitem ALTER COLUMN l_suppkey       SET (class = 'attribute');
ALTER TABLE lineitem ALTER COLUMN l_linenumber    SET (class = 'attribute');
ALTER TABLE lineitem ALTER COLUMN l_quantity      SET (class = 'measure', lower = 0, upper = 50);
ALTER TABLE lineitem ALTER COLUMN l_extendedprice SET (class = 'measure', lower = 0, upper = 105000);
ALTER TABLE lineitem ALTER COLUMN l_discount      SET (class = 'measure', lower = 0, upper = 0.1);
ALTER TABLE lineitem ALTER COLUMN l_tax           SET (class = 'measure', lower = 0, upper = 0.08);
ALTER TABLE lineitem ALTER COLUMN l_returnflag    SET (class = 'attribute');
ALTER TABLE lineitem ALTER COLUMN l_linestatus    SET (class = 'attribute');
ALTER TABLE lineitem ALTER COLUMN l_shipdate      SET (class = 'attribute');
ALTER TABLE lineitem ALTER COLUMN l_commitdate    SET (class = 'attribute');
ALTER TABLE lineitem ALTER COLUMN l_receiptdate   SET (class = 'attribute');
ALTER TABLE lineitem ALTER COLUMN l_shipinstruct  SET (class = 'attribute');
ALTER TABLE lineitem ALTER COLUMN l_shipmode      SET (class = 'attribute');

-- Comments but the clerk's have no class: nobody reads them.
GRANT SELECT ON region, nation, part, supplier, partsupp, customer, orders, lineitem TO insights_analyst;
