#!/usr/bin/env bash
# Run one command with a microphone and a loudspeaker of its own, on a machine that has neither.
#
#   tests/virtual_audio.sh [--echo] [--no-devices] COMMAND [ARG...]
#
# For COMMAND the default input and output of PortAudio, paplay and parecord are virtual:
#   paplay --device=micpipe question.wav       speaks into the microphone
#   parecord --device=spk.monitor heard.wav    hears the loudspeaker
# --echo plays the loudspeaker into the microphone about 90 ms later, as a laptop does.
# --no-devices gives it a sound system with no server to talk to, so without hardware no devices.
#
# Needs, on Debian: apt-get install --no-install-recommends \
#   pulseaudio pulseaudio-utils libasound2-plugins libportaudio2
# Each run has its own sound server, folder and cookie, so runs in parallel do not meet; D-Bus, the
# home folder and real hardware are left alone. Exit 3: the virtual devices could not be made.
set -euo pipefail

echo=no devices=yes
while [[ ${1:-} == --* ]]; do
  case $1 in
    --echo) echo=yes ;;
    --no-devices) devices=no ;;
    *) break ;;
  esac
  shift
done
if (($# == 0)); then
  sed -n '2,16s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

give_up() {
  echo "virtual_audio: $1" >&2
  exit 3
}

for program in pulseaudio pactl parec; do
  command -v "$program" >/dev/null || give_up "$program is missing: see the head of $0"
done

room=$(mktemp -d "${TMPDIR:-/tmp}/pinecall-audio.XXXXXX")
started=()
leave() {
  exec 2>/dev/null
  # By their own ids, newest first; another run's server is none of our business.
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do
    kill "${started[i]}" || true
    wait "${started[i]}" || true
  done
  rm -rf "$room"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

export PULSE_RUNTIME_PATH=$room/run PULSE_STATE_PATH=$room/state PULSE_COOKIE=$room/cookie
export PULSE_SERVER=unix:$room/socket ALSA_CONFIG_PATH=$room/alsa.conf
unset PULSE_SINK PULSE_SOURCE PULSE_LATENCY_MSEC ALSA_CARD DISPLAY

if [[ $devices == no ]]; then
  # The sound server that everything is routed to does not run: PortAudio finds what hardware there
  # is, on most test machines nothing. (With an empty configuration it would abort the process.)
  printf '%s\n' '</usr/share/alsa/alsa.conf>' >"$ALSA_CONFIG_PATH"
  "$@"
  exit
fi

# PortAudio speaks ALSA, and ALSA's pulse plugin speaks to our server.
cat >"$ALSA_CONFIG_PATH" <<'ALSA'
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse }
ctl.!default { type pulse }
ALSA

pulseaudio -n --daemonize=no --exit-idle-time=-1 --use-pid-file=no --disable-shm=yes \
  --log-target="file:$room/log" \
  -L "module-native-protocol-unix socket=$room/socket auth-anonymous=1" \
  -L "module-null-sink sink_name=spk rate=48000 channels=2" \
  -L "module-null-sink sink_name=micpipe rate=48000 channels=1" \
  -L "module-remap-source source_name=mic master=micpipe.monitor channels=1" \
  >/dev/null 2>&1 &
server=$!
started+=("$server")
for _ in {1..200}; do
  pactl info >/dev/null 2>&1 && break
  kill -0 "$server" 2>/dev/null || give_up "the sound server ended: $(tail -n 2 "$room/log")"
  sleep 0.05
done
pactl info >/dev/null 2>&1 || give_up "the sound server does not answer"
pactl set-default-sink spk
pactl set-default-source mic

# An idle null sink ticks every 2 s, and whoever opens it first waits that long (1.9 s measured).
# Somebody who always listens keeps both ticking, as hardware does; at 20 ms instead of 100 the
# loudspeaker under-runs at 16 kHz.
ears=()
for ear in mic spk.monitor; do
  mkfifo "$room/$ear"
  exec {sound}<>"$room/$ear" # both ways, so that opening waits for nobody
  ears+=("$sound")
  parec --device="$ear" --latency-msec=100 --raw >&$sound 2>/dev/null &
  started+=($!)
done
for sound in "${ears[@]}"; do
  timeout 20 head -c 4096 <&$sound >/dev/null || give_up "the virtual devices do not tick"
  cat <&$sound >/dev/null &
  started+=($!)
  exec {sound}<&-
done

if [[ $echo == yes ]]; then
  pactl load-module module-loopback source=spk.monitor sink=micpipe latency_msec=20 >/dev/null
fi

"$@"
