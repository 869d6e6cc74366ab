#include "cli/exit_code.h"

#include <fmt/core.h>

#include "cli/json.h"

namespace precis::cli {

ExitCode exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return kUsage;
    case ErrorCode::kNotFound: return kMissing;
    case ErrorCode::kCorrupt: return kCorruptInput;
    case ErrorCode::kUnsupported: return kNotSupported;
    case ErrorCode::kBudget: return kDoesNotFit;
    case ErrorCode::kCancelled: return kInterrupted;
    case ErrorCode::kIo: return kIoFailed;
  }
  return kUsage;
}

int report(const Error& error, OutputFormat format) {
  if (format == OutputFormat::kJson) {
    print_json({{"error", {{"code", error_code_name(error.code)}, {"message", error.message}}}});
  } else {
    fmt::print(stderr, "precis: {}\n", error.message);
  }
  return exit_code(error.code);
}

}  // namespace precis::cli
