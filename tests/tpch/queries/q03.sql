-- TPC-H Q3, Shipping Priority. Changed: one row an order would show single orders; their months are grouped instead.
select
    sum(l_extendedprice * (1 - l_discount)) as revenue,
    date_trunc('month', o_orderdate) as o_ordermonth,
    o_shippriority
from
    customer,
    orders,
    lineitem
where
    c_mktsegment = 'BUILDING'
    and c_custkey = o_custkey
    and l_orderkey = o_orderkey
    and o_orderdate < date '1995-03-15'
    and l_shipdate > date '1995-03-15'
group by
    date_trunc('month', o_orderdate),
    o_shippriority
order by
    revenue desc,
    o_ordermonth;
