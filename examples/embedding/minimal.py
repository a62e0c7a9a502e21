"""The smallest program that runs a job: enter its environments, run its tasks, exit the environments."""

import logging
import sys

from openjd.model import StepParameterSpaceIterator, create_job, decode_job_template

from openjd.sessions import LOG, ActionState, Session

greet = {"command": "sh", "args": ["-c", "echo $GREETING frame {{Task.Param.Frame}}"]}
frames = {"taskParameterDefinitions": [{"name": "Frame", "type": "INT", "range": "1-3"}]}
template = {
    "specificationVersion": "jobtemplate-2023-09",
    "name": "Hello",
    "jobEnvironments": [{"name": "Greeting", "variables": {"GREETING": "Hello from"}}],
    "steps": [{"name": "Greet", "parameterSpace": frames, "script": {"actions": {"onRun": greet}}}],
}
job = create_job(job_template=decode_job_template(template=template), job_parameter_values={})
step = job.steps[0]

LOG.addHandler(logging.StreamHandler(sys.stdout))  # what the processes print, and what the session does
with Session(session_id="hello", job_parameter_values={}) as session, session.environment(job.jobEnvironments[0]):
    for parameters in StepParameterSpaceIterator(space=step.parameterSpace):
        session.run_task(step_script=step.script, task_parameter_values=parameters)
        status = session.wait()
        if status.state is not ActionState.SUCCESS:
            sys.exit(f"A task ended {status.state.name}: {status.fail_message}")
