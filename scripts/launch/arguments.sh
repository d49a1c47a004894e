# What the launchers share: options in; the words of a training command, printed or run, out.
# Read by them (`source`), not run; they set `root`. Bash 3.2, the one of macOS, is enough.
# shellcheck shell=bash disable=SC2034,SC2154

dry_run="" config="" workdir="" flags=()

# Says one line and stops, as scripts/train.py does for a mistake in a flag.
fail() {
  printf 'error: %s\n' "$1" >&2
  exit 2
}

# The comment at the head of the script.
usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# parse "OPTIONS WITH A VALUE" "SWITCHES" ARGUMENTS: sets a variable for each option, `_` for `-`;
# what follows `--` goes into `flags`, for scripts/train.py.
parse() {
  local values=" config workdir $1 " switches=" dry-run $2 " option
  shift 2
  while (($#)); do
    option=${1%%=*} option=${option#--}
    case $1 in
      --) shift && flags=("$@") && return ;;
      -h | --help) usage && exit 0 ;;
      --*) ;;
      *) fail "'$1' is no option; flags of scripts/train.py come after --" ;;
    esac
    if [[ $1 != *=* && $switches == *" $option "* ]]; then
      printf -v "${option//-/_}" '%s' yes
    elif [[ $values == *" $option "* ]]; then
      if [[ $1 != *=* ]]; then
        (($# > 1)) || fail "--$option needs a value: --$option=..."
        set -- "--$option=$2" "${@:3}"
      fi
      [[ -n ${1#*=} ]] || fail "--$option is empty"
      printf -v "${option//-/_}" '%s' "${1#*=}"
    else
      fail "--$option is no option; see --help (flags of scripts/train.py come after --)"
    fi
    shift
  done
}

# require NAME...: stops at the first option without a value.
require() {
  local option
  for option; do
    [[ -n ${!option} ]] || fail "--$option is missing; see --help"
  done
}

# The command every process runs, in `train`. Every process must see the same workdir.
train_command() {
  require config workdir
  case $workdir in
    *://*) fail "--workdir=$workdir: name a folder of a file system that every host mounts" ;;
  esac
  [[ -f $root/${config%%:*} ]] || fail "--config=$config: there is no such file in $root"
  train=(scripts/train.py "--config=$config" "--workdir=$workdir" ${flags[@]+"${flags[@]}"})
}

# The arguments as one line that a shell reads as these very words again.
quoted() {
  local word line="" plain='^[A-Za-z0-9_./:=,@%+-]+$' single="'" escaped="'\\''"
  for word; do
    [[ $word =~ $plain ]] || word="'${word//$single/$escaped}'"
    line+="$word "
  done
  printf '%s' "${line% }"
}

# Runs a command, or prints it under --dry-run.
run() {
  if [[ -n $dry_run ]]; then
    quoted "$@"
    echo
  else
    "$@"
  fi
}
