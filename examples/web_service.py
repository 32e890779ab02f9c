"""A web service: each question is a run whose events arrive as server-sent events.

    pip install starlette uvicorn
    python examples/web_service.py
    curl -N localhost:8000/solve -d '{"question": "Use 3, 5, 7 and 11 to make 24."}'

One agent serves all clients. When a client disconnects, its run ends, down to the engine.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sprint_agent import AnswerText, ExecutionEnded, RunEnded, Sprint, SprintError, StageEnded
from sprint_agent.countdown import solver


def application(agent: Sprint) -> Starlette:
    """Returns an ASGI application that answers with the runs of an agent."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        async with agent:
            yield

    async def solve(request: Request) -> Response:
        try:
            question = json.loads(await request.body())["question"]
        except (ValueError, KeyError, TypeError):
            return JSONResponse({"error": 'send {"question": "…"}'}, status_code=400)
        return StreamingResponse(stream(agent, str(question)), media_type="text/event-stream")

    return Starlette(routes=[Route("/solve", solve, methods=["POST"])], lifespan=lifespan)


async def stream(agent: Sprint, question: str) -> AsyncGenerator[str]:
    """Runs a question and yields server-sent events. To close the generator ends the run."""
    try:
        async with agent.stream(question) as run:
            async for event in run:
                match event:
                    case ExecutionEnded(execution=execution):
                        number = f"{execution.stage}.{execution.number}"
                        yield sent("execution", {"number": number, "text": execution.text})
                    case StageEnded(stage=stage):
                        yield sent("stage", {"number": stage.number, "plan": stage.plan})
                    case AnswerText(text=text):
                        yield sent("answer_text", {"text": text})
                    case RunEnded(result=result):
                        yield sent("result", result.to_json())
                    case _:
                        pass
    except SprintError as error:
        yield sent("error", {"message": str(error)})


def sent(event: str, data: dict[str, object]) -> str:
    """Returns one server-sent event."""
    return f"event: {event}\ndata: {json.dumps(data)}\n\n"


if __name__ == "__main__":
    uvicorn.run(application(solver.agent()))
