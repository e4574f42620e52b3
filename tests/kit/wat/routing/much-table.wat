;; Asks for a table of 100,000 rows at once.
(table 100000 funcref)
