;; Wants 257 effects, all of them to forget the same.
(data (i32.const 2048) "x")
(func $misbehave (local $i i32)
    (local.set $i (i32.const 257))
    (loop $next
        (i32.store8 (i32.add (i32.const 4096) (i32.mul (local.get $i) (i32.const 28))) (i32.const 6))
        (i32.store (i32.add (i32.const 4100) (i32.mul (local.get $i) (i32.const 28))) (i32.const 2048))
        (i32.store (i32.add (i32.const 4104) (i32.mul (local.get $i) (i32.const 28))) (i32.const 1))
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (br_if $next (local.get $i)))
    (i32.store (i32.const 100) (i32.const 4124))
    (i32.store (i32.const 104) (i32.const 257)))
