-- A random pair, as the load generator makes them; the statement follows (contenders/match.sql). The notice is never the
-- same twice, so that every transaction adds 1 to the version of a row: the sum of versions is the number of transactions.
\set organisation random(1, 100)
\set a random(0, 999)
\set b (:a + random(1, 999)) % 1000
\set manager 1000000000000000 + (:a * 100 + :organisation) * 79228162514263 % 8999999999999989
\set customer 1000000000000000 + (:b * 100 + :organisation) * 79228162514263 % 8999999999999989
\set notice random(1, 1000000000000000)
