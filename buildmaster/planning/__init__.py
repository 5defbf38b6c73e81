"""The steps of planning, pure rules all; `buildmaster.planner` goes through them.

`stages` sorts a pipeline by architecture, `parts` finds what waits for what and cuts
builds there, `inputs` makes sure that what a job takes is there in time, `advice` warns
where the modes differ dangerously, `model` holds the outcome.
"""
