// The metrics of nondeterminism (harness/metric.h) of one group of runtime configurations. Pure: of
// traces alone, in fp64, in the order of configurations, prompts and positions.
#pragma once

#include <vector>

#include "harness/metric.h"
#include "harness/score/score.h"
#include "harness/verdict.h"
#include "runtime/trace.h"

namespace isobit {

/// The traces of one configuration, one a sample; without sampling there is one.
using Configuration = std::vector<const CellTrace*>;

/// Fills prompts, left_out and values of a group; metrics of pairs are passed over.
///
/// Prompts are matched by their place, and by their tokens; one that some configuration lacks, or
/// has no token of, is left out of every metric. With several samples the outputs of one prompt and
/// sample are compared over the configurations, and a prompt counts as the mean of its samples.
/// A standard deviation is taken of x - x_1, so that equal values give 0 and not what their mean
/// rounds to. The standard error is the jackknife's over the prompts that a metric rests on:
/// sqrt((n - 1) / n sum_i (m_i - mean m)^2), m_i the metric without prompt i.
///
/// No value, and the reason: fewer than two configurations for one that spreads, no prompt with an
/// answer, none that diverges, a row without log-sum-exp.
/// `replies`: the rule by which a reply is right, answer or last_number.
/// REQUIRES: as many samples in every configuration.
void measure_configurations(const std::vector<Metric>& metrics,
                            const std::vector<Configuration>& configurations, MeasuredGroup& group,
                            ScoreKind replies = ScoreKind::answer);

}  // namespace isobit
