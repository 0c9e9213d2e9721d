/* The interior point iteration of one instance after the other: interior_point.py, compiled.

   Before this file come the sizes, the constants (constants.py) and the problem's own functions. Both must take
   the same steps: a change here is a change there. */

typedef struct {
  real violation, cost, barrier; /* cost without the barrier, and the weighted sum of logarithms */
  real rounding;                 /* a violation that rounding alone explains */
} Merit;

/* The longest step that keeps all values positive. */
static real room(int count, const real *value, const real *change, real tau, real most) {
  for (int i = 0; i < count; i++)
    if (change[i] < 0) most = smaller(most, -tau * value[i] / change[i]);
  return most;
}

/* The sum of logarithms by the logarithm of products, which are far fewer. */
static real sum_of_logs(int count, const real *value) {
  real sum = 0, product = 1;
  for (int i = 0; i < count; i++) {
    product *= value[i];
    if (!(product > 1e-100 && product < 1e100)) sum += log(product), product = 1;
  }
  return sum + log(product);
}

static Merit merit(const Setting *S, const real *p, const Iterate *it) {
  const int n = (int)S->n;
  real violation = 0, cost = 0, rounding = 0;
  for (int k = 0; k < n; k++) {
    real w[D], F[NX], c, g[ROOM(NG)], rows[ROOM(NR)];
    joined(it, k, w);
    stage_values(w, p, S->times[k], F, &c, g);
    rows_along(S, p, k, w, g, rows);
    cost += c;
    for (int i = 0; i < NX; i++) {
      violation += fabs(F[i] - it->z[(k + 1) * NZ + i]);
      rounding += 1 + fabs(it->z[(k + 1) * NZ + i]);
    }
    for (int r = 0; r < NR; r++) {
      violation += fabs(rows[r] + it->s[k * NR + r]);
      rounding += 1 + it->s[k * NR + r];
    }
  }
  real phi, psi[ROOM(NPSI)], omega[ROOM(NOM)], rows[ROOM(NE)];
  real w[D];
  joined_end(it, n, w);
  end_values(w, p, S->times[n], &phi, psi, omega);
  rows_at_end(S, p, w, omega, rows);
  for (int r = 0; r < NPSI; r++) violation += fabs(psi[r]), rounding += 1 + fabs(psi[r]);
  for (int r = 0; r < NE; r++) {
    violation += fabs(rows[r] + it->s_end[r]);
    rounding += 1 + it->s_end[r];
  }
  Merit m = {violation, p[SCALE] * (cost + phi), 0, EPSILON * rounding};
  m.barrier = sum_of_logs(n * NR, it->s) / n + sum_of_logs(NE, it->s_end);
  if (!isfinite(m.violation) || !isfinite(m.cost) || !isfinite(m.barrier))
    m.violation = m.cost = INFINITY, m.barrier = 0;
  return m;
}

/* Whether a step of length alpha is good, and whether for the cost's sake: filter.Filter.judge. */
static int judge(
    const Work *w, Merit now, Merit trial, real mu, real slope, real alpha, int *for_cost) {
  const real cost = now.cost - mu * now.barrier, cost_new = trial.cost - mu * trial.barrier;
  const real tiny = ROUNDINGS * EPSILON * fabs(cost), descent = slope < 0 ? -slope : 0;
  const real real_violation = larger(now.violation - now.rounding, 0);
  const int armijo = cost_new <= cost + ARMIJO * alpha * slope + tiny;
  *for_cost = slope < 0 && alpha * pow(descent, DESCENT_POWER) > pow(now.violation, VIOLATION_POWER)
      && now.violation <= w->little;
  int good = *for_cost ? armijo
                       : trial.violation <= (1 - GAMMA) * now.violation
          || cost_new <= cost - GAMMA * real_violation + tiny;
  *for_cost = *for_cost && armijo;
  const real first = w->most / MOST_VIOLATION;
  good = good && trial.violation <= larger(MOST_GROWTH * now.violation, first);
  good = good && trial.violation <= w->most && isfinite(cost_new);
  for (int e = 0; e < w->entries && good; e++)
    good = trial.violation <= larger((1 - GAMMA) * w->violations[e], trial.rounding)
        || cost_new <= w->costs[e] - GAMMA * w->violations[e];
  return good;
}

/* Multipliers kept within a factor of SAFEGUARD of mu w / s. */
static void safeguard(int count, const real *s, real *y, real mu) {
  for (int i = 0; i < count; i++) {
    const real centre = mu / s[i];
    y[i] = larger(smaller(y[i], SAFEGUARD * centre), centre / SAFEGUARD);
  }
}

static void swap(Work *w) {
  Iterate it = w->it;
  real *all = w->it_all;
  w->it = w->trial, w->it_all = w->trial_all;
  w->trial = it, w->trial_all = all;
}

/* Whether the point along the change is good, which it then is the iterate: filter. The length is
   `alpha`, and for the search counts as `counted`. */
static int stepped(
    const Setting *S, const real *p, Work *w, real mu, real slope, real alpha, real dual,
    real counted, Merit *now, Merit *trial) {
  const int n = (int)S->n;
  const size_t size = size_of_iterate((size_t)n);
  for (size_t i = 0; i < size; i++) w->trial_all[i] = w->it_all[i] + alpha * w->change_all[i];
  for (int i = 0; i < n * NR; i++) w->trial.y[i] = w->it.y[i] + dual * w->change.y[i];
  for (int i = 0; i < NE; i++) w->trial.y_end[i] = w->it.y_end[i] + dual * w->change.y_end[i];
  *trial = merit(S, p, &w->trial);
  int for_cost;
  if (!judge(w, *now, *trial, mu, slope, counted, &for_cost)) return 0;
  if (!for_cost) {
    w->violations[w->entries] = now->violation;
    w->costs[w->entries++] = now->cost - mu * now->barrier;
  }
  *now = *trial;
  swap(w);
  return 1;
}

/* The lengths that keep slacks and multipliers positive. */
static real primal_room(int n, const Work *w, real tau) {
  const real along = room(n * NR, w->it.s, w->change.s, tau, 1);
  return room(NE, w->it.s_end, w->change.s_end, tau, along);
}

static real dual_room(int n, const Work *w, real tau) {
  const real along = room(n * NR, w->it.y, w->change.y, tau, 1);
  return room(NE, w->it.y_end, w->change.y_end, tau, along);
}

/* What is missed becomes `share` of it and what the trial misses: correction.added. */
static void add_missed(const Setting *S, const real *p, Work *w, real share) {
  const int n = (int)S->n;
  const Iterate *it = &w->trial;
  const Missed m = w->missed;
  real v[D], g[ROOM(NG)], rows[ROOM(NR)], at_end[ROOM(NE)], psi[ROOM(NPSI)], omega[ROOM(NOM)];
  for (int k = 0; k < n; k++) {
    real F[NX], c;
    joined(it, k, v);
    stage_values(v, p, S->times[k], F, &c, g);
    rows_along(S, p, k, v, g, rows);
    for (int i = 0; i < NX; i++)
      m.defect[k * NX + i] = share * m.defect[k * NX + i] + F[i] - it->z[(k + 1) * NZ + i];
    for (int r = 0, i = k * NR; r < NR; r++, i++)
      m.rows[i] = share * (m.rows[i] + w->it.s[i]) + rows[r] + it->s[i] - w->it.s[i];
  }
  real phi;
  joined_end(it, n, v);
  end_values(v, p, S->times[n], &phi, psi, omega);
  rows_at_end(S, p, v, omega, at_end);
  for (int r = 0; r < NPSI; r++) m.psi[r] = share * m.psi[r] + psi[r];
  for (int r = 0; r < NE; r++)
    m.rows_end[r] = share * (m.rows_end[r] + w->it.s_end[r]) + at_end[r] + it->s_end[r]
        - w->it.s_end[r];
}

/* Corrections of second order of a step that raised the violation: correction.corrected. */
static int corrected(
    const Setting *S, const real *p, Work *w, real mu, real used, real slope, real alpha,
    Merit *now, Merit trial) {
  const int n = (int)S->n;
  const real tau = larger(1 - mu, TO_THE_BOUNDARY);
  real share = alpha, before = trial.violation;
  int found = 0;
  memcpy(w->uncorrected, w->change_all, size_of_iterate((size_t)n) * sizeof(real));
  memcpy(w->missed.defect, w->lin.defect, (size_t)(n * NX) * sizeof(real));
  memcpy(w->missed.rows, w->lin.rows, (size_t)(n * NR) * sizeof(real));
  memcpy(w->missed.rows_end, w->lin.rows_end, NE * sizeof(real));
  memcpy(w->missed.psi, w->lin.d.psi, NPSI * sizeof(real));
  for (int i = 0; i < CORRECTIONS && !found; i++) {
    add_missed(S, p, w, share);
    set_gradient(S, p, w, &w->it, mu, w->missed);
    if (!riccati(&w->stages, n, used, &w->step)) break;
    direction(S, p, w, mu, w->missed);
    share = primal_room(n, w, tau);
    found = stepped(S, p, w, mu, slope, share, dual_room(n, w, tau), alpha, now, &trial);
    if (!(trial.violation <= CORRECTED * before)) break;
    before = trial.violation;
  }
  if (!found) memcpy(w->change_all, w->uncorrected, size_of_iterate((size_t)n) * sizeof(real));
  return found;
}

/* One step along the Newton direction, as far as it is good: InteriorPoint.advance. */
static void advance(
    const Setting *S, const real *p, Work *w, real mu, real *shift, int *failures, Merit *now) {
  const int n = (int)S->n;
  real used;
  set_stages(S, p, w, &w->it, mu);
  int found = 0;
  real alpha = 1;
  if (convexified(n, w, *shift, &used)) {
    const Missed missed = {w->lin.rows, w->lin.rows_end, w->lin.defect, w->lin.d.psi};
    const real slope = direction(S, p, w, mu, missed);
    const real tau = larger(1 - mu, TO_THE_BOUNDARY);
    alpha = primal_room(n, w, tau);
    const real dual = dual_room(n, w, tau);
    for (int attempt = 0; attempt < HALVINGS && !found; attempt++) {
      Merit trial;
      found = stepped(S, p, w, mu, slope, alpha, dual, alpha, now, &trial);
      if (!found && attempt == 0 && trial.violation >= now->violation && isfinite(trial.violation))
        found = corrected(S, p, w, mu, used, slope, alpha, now, trial);
      if (!found) alpha /= 2;
    }
  }
  if (found) {
    *shift = used > 0 ? used : fabs(*shift);
    *failures = alpha > SHORT ? 0 : *failures + 1;
  } else {
    w->entries = 0;
    *shift = larger(-INSIST * larger(used, SHORT), -MOST_SHIFT);
    *failures += 1;
  }
  safeguard(n * NR, w->it.s, w->it.y, mu / n);
  safeguard(NE, w->it.s_end, w->it.y_end, mu);
}

/* How the iterate stands: InteriorPoint.assess. */
static int64_t assess(const Setting *S, Residuals r, Work *w, int failures) {
  const int n = (int)S->n;
  const real error = error_of(r, complementarity(S, &w->it, 0));
  if (error < LESS * w->least) {
    w->least = error, w->waited = 0;
    memcpy(w->best, w->it_all, size_of_iterate((size_t)n) * sizeof(real));
  } else w->waited++;
  real most = 0;
  for (int i = 0; i < n * NU; i++) most = larger(most, fabs(w->it.u[i]));
  for (int i = 0; i < (n + 1) * NZ; i++) most = larger(most, fabs(w->it.z[i]));
  if (error <= S->tolerance) return CONVERGED;
  if (!isfinite(error)) return DIVERGED;
  if (most > MOST_VARIABLE) return UNBOUNDED;
  const int hopeless = failures > MOST_FAILURES || r.size > MOST_MULTIPLIER;
  return hopeless || w->waited > PATIENCE ? STALLED : RUNNING;
}

static int64_t solved(
    const Setting *S, const real *p, Work *w, int64_t most, int64_t *iterations) {
  const real least = LAST_BARRIER * S->tolerance;
  real mu = NR + NE > 0 ? S->mu : least, shift = 0;
  int failures = 0;
  Merit now = merit(S, p, &w->it);
  const real scale = larger(now.violation, 1);
  w->entries = w->waited = 0, w->least = INFINITY;
  w->most = MOST_VIOLATION * scale, w->little = LITTLE_VIOLATION * scale;
  for (*iterations = 0;; ++*iterations) {
    linearise(S, p, &w->it, &w->lin);
    const Residuals r = residuals(S, p, &w->it, &w->lin);
    const int64_t code = assess(S, r, w, failures);
    if (code != RUNNING) return code;
    if (*iterations >= most) return EXHAUSTED;
    while (mu > least && error_of(r, complementarity(S, &w->it, mu)) <= BARRIER_REACHED * mu) {
      mu = larger(smaller(BARRIER_FACTOR * mu, pow(mu, BARRIER_POWER)), least);
      w->entries = 0;
    }
    advance(S, p, w, mu, &shift, &failures, &now);
  }
}

/* What Python calls; each works on `count` instances side by side. Those that need memory return
   zero if there is none. */

int iterate(
    const Setting *S, int64_t count, const real *params, real *its, const int64_t *most,
    int64_t *codes, int64_t *iterations, int64_t *minimum) {
  const size_t bytes = size_of_iterate((size_t)S->n) * sizeof(real);
  Work w = prepared(S);
  if (!w.memory) return 0;
  for (int64_t i = 0; i < count; i++, its += size_of_iterate((size_t)S->n)) {
    memcpy(w.it_all, its, bytes);
    codes[i] = solved(S, params + i * NP, &w, most[i], iterations + i);
    if (codes[i] != CONVERGED && codes[i] != UNBOUNDED && isfinite(w.least)) {
      memcpy(w.it_all, w.best, bytes);
      linearise(S, params + i * NP, &w.it, &w.lin);
    }
    set_stages(S, params + i * NP, &w, &w.it, LAST_BARRIER * S->tolerance);
    minimum[i] = is_minimum((int)S->n, &w);
    memcpy(its, w.it_all, bytes);
  }
  free(w.memory);
  return 1;
}

int derivatives(const Setting *S, int64_t count, const real *params, real *its, real *out) {
  for (int64_t i = 0; i < count; i++, its += size_of_iterate((size_t)S->n)) {
    const Iterate it = iterate_at(its, (size_t)S->n);
    Derivatives d = derivatives_at(out + i * size_of_derivatives((size_t)S->n), (size_t)S->n);
    differentiate(S, params + i * NP, &it, &d);
  }
  return 1;
}

/* The states that the controls lead to, in place of those after the first. */
int rollout(const Setting *S, int64_t count, const real *params, real *its) {
  for (int64_t i = 0; i < count; i++, its += size_of_iterate((size_t)S->n)) {
    const Iterate it = iterate_at(its, (size_t)S->n);
    for (int k = 0; k < S->n; k++) {
      real w[D], c, g[ROOM(NG)], *next = it.z + (k + 1) * NZ;
      joined(&it, k, w);
      stage_values(w, params + i * NP, S->times[k], next, &c, g);
      for (int j = NX; j < NZ; j++) next[j] = w[j];
    }
  }
  return 1;
}

/* The costates that make the Lagrangian stationary in the states, in place of those given. */
int adjoint(const Setting *S, int64_t count, const real *params, real *its) {
  real *memory = malloc(size_of_derivatives((size_t)S->n) * sizeof(real));
  if (!memory) return 0;
  Derivatives d = derivatives_at(memory, (size_t)S->n);
  for (int64_t i = 0; i < count; i++, its += size_of_iterate((size_t)S->n)) {
    const real *p = params + i * NP;
    const Iterate it = iterate_at(its, (size_t)S->n);
    differentiate(S, p, &it, &d);
    real L[D];
    lagrangian_end(p, &it, &d, L);
    memcpy(it.costate + S->n * NZ, L, NZ * sizeof(real));
    for (int k = (int)S->n - 1; k >= 0; k--) {
      lagrangian(S, p, &it, &d, k, L);
      memcpy(it.costate + k * NZ, L, NZ * sizeof(real));
    }
  }
  free(memory);
  return 1;
}
