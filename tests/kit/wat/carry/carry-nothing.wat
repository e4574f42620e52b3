;; Refuses everything.
