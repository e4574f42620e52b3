;; Lets nobody in.
