-- TPC-H Q18, Large Volume Customer. Changed: one row an order would show single orders; their years are grouped instead.
select
    extract(year from o_orderdate) as o_year,
    count(distinct c_custkey) as customers,
    sum(l_quantity) as quantity
from
    customer,
    orders,
    lineitem
where
    o_orderkey in (
        select
            l_orderkey
        from
            lineitem
        group by
            l_orderkey having
                sum(l_quantity) > 300
    )
    and c_custkey = o_custkey
    and o_orderkey = l_orderkey
group by
    extract(year from o_orderdate)
order by
    o_year;
