# Writes reference.json: conditional AIC of the reference cases by cAIC4 (Greven & Kneib 2010), Debian 12's versions.
# Run in this folder: Rscript make.R
suppressMessages({library(lme4); library(cAIC4); library(jsonlite)})
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-11, rhobeg = 1e-2, maxfun = 1e6),
                       check.conv.singular = "ignore")
spec_of <- function(case) fromJSON(file.path("..", "reference", case, "spec.json"), simplifyVector = FALSE)
rows_of <- function(case) {
  spec <- spec_of(case)
  d <- read.csv(file.path("..", "reference", case, "data.csv"), check.names = FALSE, na.strings = c("", "NA"))
  d <- d[complete.cases(d[c(spec$outcome, unlist(spec$fixed), unlist(spec$groups))]), ]
  for (f in unlist(spec$categorical)) d[[f]] <- factor(d[[f]], unlist(spec$levels[[f]]))
  for (g in unlist(spec$groups)) d[[g]] <- factor(d[[g]])
  if (length(unlist(spec$groups)) == 2) {
    g <- unlist(spec$groups)
    d$.inner <- interaction(d[[g[1]]], d[[g[2]]], drop = TRUE)
  }
  rownames(d) <- NULL
  d
}
formula_of <- function(case, id) {
  spec <- spec_of(case)
  m <- Filter(function(m) m$id == id, spec$models)[[1]]
  fixed <- if (identical(m$fixed, "all")) spec$fixed else m$fixed
  random <- sapply(m$random, function(r) paste0(
    "(", paste(unlist(r$terms), collapse = " + "), " | ",
    if (length(unlist(r$level)) == 2) ".inner" else unlist(r$level), ")"))
  as.formula(paste(spec$outcome, "~", paste(c("1", unlist(fixed), unlist(random)), collapse = " + ")))
}
# cAIC4 1.0 writes the derivative of the profiled deviance with e'We e / (2 y'e) where differentiation gives
# e'We e / y'e (its own non-analytic branch has that): `df_mended` is its calculation with the factor put right.
mended <- function(fit) {
  m <- cAIC4:::getModelComponents.merMod(fit, TRUE)
  A <- as.matrix(m$A); e <- m$e; q <- length(m$theta)
  np <- if (m$isREML) m$n - ncol(m$X) else m$n
  B <- matrix(0, q, q); C <- matrix(0, q, m$n)
  P <- if (m$isREML) A else as.matrix(m$V0inv)
  for (j in 1:q) {
    Wj <- as.matrix(m$Wlist[[j]])
    C[j, ] <- as.vector(e %*% Wj %*% A) - m$eWelist[[j]] * e / m$tye
    for (k in 1:q) {
      Wk <- as.matrix(m$Wlist[[k]])
      B[j, k] <- -m$tye * sum(diag(Wj %*% P %*% Wk %*% P)) / (2 * np) -
        m$eWelist[[j]] * m$eWelist[[k]] / (2 * m$tye) + as.numeric(e %*% Wk %*% A %*% Wj %*% e)
    }
  }
  L <- solve(B, C)
  m$n - sum(diag(A)) + sum(sapply(1:q, function(j) sum(L[j, ] * (A %*% as.matrix(m$Wlist[[j]]) %*% e)))) + 1
}

runs <- list(c("sleepstudy", "ri"), c("sleepstudy", "rs"), c("orthodont_girls", "ri"), c("orthodont_girls", "rs"),
             c("gasoline", "ri"), c("gasoline", "rs"), c("grunfeld", "ri"), c("oats", "ml"), c("pastes", "ml"),
             c("machines", "ml"), c("ratpup", "ri"), c("hedonic", "ri"), c("dyestuff", "ri"), c("rail", "ri"),
             c("empluk", "ri"), c("produc", "ml"), c("p_within_only", "ri"))
out <- list()
for (r in runs) for (reml in c(FALSE, TRUE)) {
  d <- rows_of(r[1])
  fit <- suppressWarnings(lmer(formula_of(r[1], r[2]), d, REML = reml, control = control))
  x <- tryCatch(cAIC(fit, analytic = TRUE), error = function(e) { message(r, conditionMessage(e)); NULL })
  if (is.null(x)) next
  out <- c(out, list(list(case = r[1], model = r[2], method = if (reml) "REML" else "ML", caic = x$caic, df = x$df,
                          loglik = as.numeric(x$loglikelihood),
                          df_mended = if (any(getME(fit, "theta")[getME(fit, "lower") == 0] < 1e-7)) NULL
                                      else mended(fit))))
  message(paste(r, collapse = " "), " ", reml, " ", x$df)
}
write_json(out, "reference.json", digits = NA, auto_unbox = TRUE, pretty = TRUE)
