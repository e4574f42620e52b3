;; Brings a second memory with addresses of 64 bits that is as large as a disk.
(memory $wide i64 0x1000000)
