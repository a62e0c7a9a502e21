"""Run the tasks of one step in several sessions at the same time, from asyncio."""

import asyncio

from openjd.model import StepParameterSpaceIterator, create_job, decode_job_template

from openjd.sessions import ActionState, Session

SESSIONS = 3

render = {"command": "sh", "args": ["-c", "echo openjd_status: $TOOL renders {{Task.Param.Frame}}"]}
frames = {"taskParameterDefinitions": [{"name": "Frame", "type": "INT", "range": "1-9"}]}
template = {
    "specificationVersion": "jobtemplate-2023-09",
    "name": "Parallel",
    "jobEnvironments": [{"name": "Tool", "variables": {"TOOL": "This tool"}}],
    "steps": [{"name": "Render", "parameterSpace": frames, "script": {"actions": {"onRun": render}}}],
}
job = create_job(job_template=decode_job_template(template=template), job_parameter_values={})
step = job.steps[0]


async def run_session(name: str, tasks: asyncio.Queue) -> None:
    """Take tasks until none is left; leaving the block exits the environment, also after a failure."""
    with Session(session_id=name, job_parameter_values={}) as session:
        async with session.environment(job.jobEnvironments[0]):
            while not tasks.empty():
                session.run_task(step_script=step.script, task_parameter_values=tasks.get_nowait())
                status = await session.future
                print(f"{name}: {status.state.name}, {status.status_message}")
                if status.state is not ActionState.SUCCESS:
                    return


async def main() -> None:
    tasks: asyncio.Queue = asyncio.Queue()
    for parameters in StepParameterSpaceIterator(space=step.parameterSpace):
        tasks.put_nowait(parameters)
    await asyncio.gather(*(run_session(f"session {number}", tasks) for number in range(1, SESSIONS + 1)))


if __name__ == "__main__":
    asyncio.run(main())
