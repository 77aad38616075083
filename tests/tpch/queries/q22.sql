-- TPC-H Q22, Global Sales Opportunity. Changed: a telephone number is an identifier; its country code is ten more than the
-- customer's nation, which is asked instead.
select
    cntrycode,
    count(*) as numcust,
    sum(c_acctbal) as totacctbal
from
    (
        select
            c_nationkey + 10 as cntrycode,
            c_acctbal
        from
            customer
        where
            c_nationkey + 10 in
                (13, 31, 23, 29, 30, 18, 17)
            and c_acctbal > (
                select
                    avg(c_acctbal)
                from
                    customer
                where
                    c_acctbal > 0.00
                    and c_nationkey + 10 in
                        (13, 31, 23, 29, 30, 18, 17)
            )
            and not exists (
                select
                    *
                from
                    orders
                where
                    o_custkey = c_custkey
            )
    ) as custsale
group by
    cntrycode
order by
    cntrycode;
