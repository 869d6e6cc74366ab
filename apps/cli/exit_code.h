// How a command ends: the exit codes of `precis`, and how errors are shown.
#pragma once

#include <cstdint>

#include "precis/status.h"

namespace precis::cli {

/// Documented in docs/cli.md and at the end of `precis --help`.
enum ExitCode : int {
  kOk = 0,
  kTestFailed = 1,  // what was to be tested does not hold (verify, encode --cases, ask --expect)
  kUsage = 2,
  kMissing = 3,
  kCorruptInput = 4,
  kNotSupported = 5,
  kDoesNotFit = 6,
  kIoFailed = 7,
  kInterrupted = 130,
};

inline constexpr const char* kExitCodeHelp =
    "Exit codes: 0 ok, 1 the thing tested failed, 2 bad usage or argument, 3 not found,\n"
    "4 corrupt input, 5 unsupported, 6 does not fit, 7 input/output, 130 interrupted.";

/// Whether a command writes text for people or one JSON object.
enum class OutputFormat : std::uint8_t { kText, kJson };

ExitCode exit_code(ErrorCode code);

/// Shows `error` ("precis: <message>" on stderr, or {"error": …} on stdout) and gives its exit
/// code.
int report(const Error& error, OutputFormat format);

/// How a command ends that came to `result`: with the code in it, or with its error reported.
int exit_code_of(const Result<int>& result, OutputFormat format);
int exit_code_of(const Result<void>& result, OutputFormat format);

}  // namespace precis::cli
