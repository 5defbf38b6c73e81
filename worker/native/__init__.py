"""Native jobs on a worker: registered callables and the operator's commands.

    natives    what the dialogue talks to: attempts in memory, from order to last record
      quick    a callable that says it is quick, performed in the daemon's own turn
      runners  the daemon's lines to runner processes, and who is idle
        hatchery   a process with everything loaded, of which runners are forks
          runner     one job at a time, each in a child of its own that it watches

Read `interface` first: it is what authors of native jobs import. `registry` finds what
they wrote, `outcome` is how a job ended, as a value.
"""
