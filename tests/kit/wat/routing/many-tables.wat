;; Asks for two tables of 6,000 rows, none of which is too large.
(table $one 6000 funcref)
(table $two 6000 funcref)
