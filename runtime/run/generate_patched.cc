// A patched run is two: the donor's, of which rows are kept, then the recipient's.
#include "runtime/run/generate.h"
#include "runtime/run/ranks.h"

namespace isobit {

Result<GenerateResult> Runtime::generate_patched(const GenerateRequest& request) {
  if (auto ok = agree(request, check_patch(request, model_->config)); !ok) return ok.error();
  PatchBank bank(request, model_->config);
  GenerateRequest donor = *request.patch.donor;
  donor.world = request.world;
  donor.patch = {};
  donor.patch.bank = &bank;
  donor.patch.keeps = true;
  auto given = generate(donor);
  if (!given) return Error{"the donor: " + given.error().message, given.error().place};
  // Of several processes one has the trace; all must go on, or none.
  const bool good = given->trace.status == CellStatus::ok;
  const Result<void> mine = good ? Result<void>() : Error{"the donor: " + given->trace.reason, ""};
  if (auto ok = agree(request, mine); !ok) return ok.error();

  GenerateRequest recipient = request;
  recipient.patch.bank = &bank;
  auto result = generate(recipient);
  ISOBIT_TRY(result);
  bank.share_notes();
  bank.observe(result->trace.observed);
  result->donor = std::make_shared<const CellTrace>(std::move(given->trace));
  return result;
}

}  // namespace isobit
