"""``/v1/audio/transcriptions`` and ``/api/scribe``: a recording as text (rest.md §5.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pinecall_cli.engines.choose import RECOGNISER
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.speech.aloud import check_language, check_model
from pinecall_cli.server.speech.audio_api import (
    READABLE,
    Admission,
    ApiError,
    answering,
    organisation_of,
    read_body,
    request_id,
    unless_gone,
)
from pinecall_cli.server.speech.decoding import decode_recording
from pinecall_cli.server.speech.dictation import Segment, Stretch, Stretches, recognised, to_16k
from pinecall_cli.server.speech.multipart import FormError, read_form
from pinecall_cli.server.speech.scribes import Dictation, Scribe, refused

LARGEST_FILE = 25 * 1024 * 1024
FORM_AROUND_IT = 64 * 1024
LONGEST_S = 2 * 3600
"""Of a recording: at the lowest rates 25 MB last for a day."""
FORMATS = ("json", "verbose_json", "text")
TOO_LARGE = ApiError(413, "FILE_TOO_LARGE", "a file may have 25 MB")


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a recording."""

    segments: list[Segment]
    seconds: float
    """How long the recording is."""

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(segment.text for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Upload:
    """A form that was sent, its file decoded: int16 mono."""

    pcm: bytes = field(repr=False)
    rate: int
    format: str


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the routes that turn speech into text: of recordings, and of streams."""
    uploads, dictations = Admission(server.limits.uploads), Admission(server.limits.dictations)
    # What pages do with their tokens keeps nobody waiting who holds the key.
    clips, scribes = Admission(server.limits.uploads), Admission(server.limits.dictations)

    async def transcribe(request: Request) -> Response:
        return await answered(request, organisation_of(server, request), uploads)

    async def scribe(request: Request) -> Response:
        org = scribe_of(server, request)
        if org is None:
            raise ApiError(401, "INVALID_KEY", "the token is unknown, used or expired")
        return await answered(request, org, clips)

    async def answered(request: Request, org: Organisation, admission: Admission) -> Response:
        if server.draining:
            raise ApiError(503, "UPSTREAM_ERROR", "the server is stopping")
        with admission.held(org):
            body = await read_body(request, LARGEST_FILE + FORM_AROUND_IT, TOO_LARGE)
            kind = request.headers.get("content-type", "")
            upload = await server.audio_worker.run(read_upload, body, kind)
            del body
            found = await unless_gone(request, transcript(server, upload))
        return shown(found, upload.format)

    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        try:
            try:
                org = organisation_of(server, socket, in_query="api_key")
                with dictations.held(org):
                    await Dictation(server, socket).serve()
            except ApiError as problem:
                await refused(socket, problem)
        except WebSocketDisconnect:
            return  # they have left: there is nothing to clear up

    async def dictate(socket: WebSocket) -> None:
        org = scribe_of(server, socket)
        if org is None:
            body = {"detail": "the token is unknown, used or expired"}
            await socket.send_denial_response(JSONResponse(body, 401))
            return
        await socket.accept()
        try:
            try:
                with scribes.held(org):
                    await Scribe(server, socket).serve()
            except ApiError as problem:
                await refused(socket, problem, scribe=True)
        except WebSocketDisconnect:
            return  # as above

    return [
        Route("/v1/audio/transcriptions", answering(transcribe), methods=["POST", "OPTIONS"]),
        WebSocketRoute("/v1/audio/transcriptions/stream", stream),
        Route("/api/scribe", answering(scribe), methods=["POST", "OPTIONS"]),
        WebSocketRoute("/api/scribe/ws", dictate),
    ]


def scribe_of(server: VoiceServer, asking: HTTPConnection) -> Organisation | None:
    """Return whose chat token was shown, which is used up by that; None if it is not good.

    One that a page was given is good from pages of that origin alone.
    """
    grant = server.tokens.consume(asking.query_params.get("token", ""), "chat")
    if grant is None or not grant.good_from(asking.headers.get("origin")):
        return None
    return grant.org


# --- a recording ---


def read_upload(body: bytes, content_type: str) -> Upload:
    """Return what was sent; heavy, for a worker's thread.

    Raises:
        ApiError: If it is no such form, or asks for what we cannot do.
    """
    try:
        form = read_form(body, content_type)
    except FormError as problem:
        raise ApiError(400, "BAD_REQUEST", str(problem)) from None
    texts = {
        name: form[name].decode("utf-8", "replace").strip()
        for name in ("model", "language", "diarize", "response_format")
        if name in form
    }
    check_model(texts.get("model"))
    check_language(texts.get("language"))
    if texts.get("diarize", "").lower() == "true":
        message = "the offline recogniser cannot tell speakers apart"
        raise ApiError(400, "DIARIZE_UNSUPPORTED", message)
    shape = texts.get("response_format") or "json"
    if shape not in FORMATS:
        raise ApiError(400, "FORMAT_UNSUPPORTED", f"`response_format` is none of {FORMATS}")
    if "file" not in form:
        raise ApiError(400, "BAD_REQUEST", "the form has no `file`")
    if len(form["file"]) > LARGEST_FILE:
        raise TOO_LARGE
    pcm, rate = decode_recording(form["file"], longest_s=LONGEST_S)
    return Upload(pcm, rate, shape)


async def transcript(server: VoiceServer, upload: Upload) -> Transcript:
    """Return what is said in a recording.

    Raises:
        EngineError: If there is no recogniser here, or it breaks.
    """
    engines = await server.engines.wait()
    stretches = Stretches(engines.vad())
    convert = await server.audio_worker.run(to_16k, upload.rate)  # of an odd rate: a second
    second = 2 * upload.rate
    segments: list[Segment] = []

    def heard(at: int) -> list[Stretch]:
        piece = upload.pcm[at : at + second]
        return stretches.push(convert(piece)) if piece else stretches.flush()

    for at in range(0, len(upload.pcm) + second, second):
        for stretch in await server.audio_worker.run(heard, at):
            segment = await recognised(engines.recogniser, stretch)
            if segment is not None:
                segments.append(segment)
    return Transcript(segments, len(upload.pcm) / second)


def shown(found: Transcript, shape: str) -> Response:
    """Return the answer in one of the `FORMATS`."""
    headers = READABLE | {"X-Pinecall-Request-Id": request_id(), "Cache-Control": "no-store"}
    if shape == "text":
        return PlainTextResponse(found.text, headers=headers)
    body: dict[str, Any] = {
        "text": found.text,
        "language": "en",
        "duration": round(found.seconds, 3),
    }
    if shape == "verbose_json":
        body["model"] = RECOGNISER
        body["words"] = [word for segment in found.segments for word in segment.words()]
        body["segments"] = list(numbered(found.segments))
    return JSONResponse(body, headers=headers)


def numbered(segments: list[Segment]) -> Iterator[dict[str, Any]]:
    """Yield segments as they are shown."""
    for number, segment in enumerate(segments):
        yield {
            "id": number,
            "start": round(segment.start, 3),
            "end": round(segment.end, 3),
            "text": segment.text,
        }
