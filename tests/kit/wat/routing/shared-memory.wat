;; Brings a memory that threads could share.
(memory (export "memory") 20 100 shared)
