"""Does work survive its processes? Runs are killed in the middle, started again, and compared with one that was left alone.

    python -m benchmarks survival [--kills 100] [--runner native|ray] [--seed 1]

Files: `scenes` says what is run, `moments` when it is struck, `victims` what is struck, `readers` what a store shows, `server` who writes
captions, `runs` starts commands, `campaign` goes through with it, `publishing` does for what is published.
"""
