import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.cert.*;
import java.util.*;

/** Reads one case a line, asks the JDK's path builder and path validator, and answers one line. */
public final class PathOpinion {
    private static final long LONGEST = 3000;
    private static final CertificateFactory FACTORY = factory();

    private static CertificateFactory factory() {
        try {
            return CertificateFactory.getInstance("X.509");
        } catch (CertificateException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    public static void main(String[] words) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.println(inTime(line.split("\\|", -1)).replaceAll("\\s+", " "));
        }
        // Whoever still searches is not waited for.
        System.exit(0);
    }

    /** In some rings of lists the JDK searches without end, or until its stack is full. */
    private static String inTime(String[] parts) throws InterruptedException {
        String[] told = {"none"};
        Thread work = new Thread(() -> {
            try {
                told[0] = answer(parts);
            } catch (RuntimeException | StackOverflowError broken) {
                told[0] = "bad broken " + broken;
            }
        });
        work.setDaemon(true);
        work.setPriority(Thread.MIN_PRIORITY);
        work.start();
        work.join(LONGEST);
        return told[0];
    }

    private static String answer(String[] parts) {
        X509Certificate leaf, anchor;
        try {
            leaf = certificate(parts[1]);
            anchor = certificate(parts[2]);
        } catch (Exception unreadable) {
            return "bad unreadable " + unreadable;
        }
        if (anchor.getExtensionValue("2.5.29.30") != null) {
            return "none";
        }
        List<X509Certificate> between = new ArrayList<>();
        for (String each : split(parts[3])) {
            try {
                between.add(certificate(each));
            } catch (Exception unreadable) {
                continue;
            }
        }
        String built = tried(() -> build(parts, leaf, anchor, between));
        if (built.isEmpty()) {
            return "good";
        }
        String validated = tried(() -> validate(parts, leaf, anchor, between));
        return validated.isEmpty() ? "good " + built : "bad " + validated + " / " + built;
    }

    private interface Work {
        void run() throws Exception;
    }

    private static String tried(Work work) {
        try {
            work.run();
            return "";
        } catch (CertPathValidatorException refused) {
            return refused.getReason() + ": " + refused.getMessage();
        } catch (Exception refused) {
            Throwable cause = refused.getCause() == null ? refused : refused.getCause();
            return cause.getClass().getSimpleName() + ": " + cause.getMessage();
        }
    }

    private static void build(
            String[] parts, X509Certificate leaf, X509Certificate anchor, List<X509Certificate> between)
            throws Exception {
        X509CertSelector wanted = new X509CertSelector();
        wanted.setCertificate(leaf);
        PKIXBuilderParameters asked = new PKIXBuilderParameters(anchors(anchor), wanted);
        asked.setMaxPathLength(-1);
        List<Object> all = new ArrayList<>(between);
        all.add(leaf);
        asked.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(all)));
        CertPathBuilder builder = CertPathBuilder.getInstance("PKIX");
        rule(parts, asked, (PKIXRevocationChecker) builder.getRevocationChecker(), leaf, between);
        builder.build(asked);
    }

    private static void validate(
            String[] parts, X509Certificate leaf, X509Certificate anchor, List<X509Certificate> between)
            throws Exception {
        List<X509Certificate> path = new ArrayList<>();
        path.add(leaf);
        for (X509Certificate each : between) {
            // What stands beside the path comes after it.
            X509Certificate last = path.get(path.size() - 1);
            if (last.getIssuerX500Principal().equals(each.getSubjectX500Principal())) {
                path.add(each);
            }
        }
        PKIXParameters asked = new PKIXParameters(anchors(anchor));
        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        rule(parts, asked, (PKIXRevocationChecker) validator.getRevocationChecker(), leaf, between);
        validator.validate(FACTORY.generateCertPath(path), asked);
    }

    private static Set<TrustAnchor> anchors(X509Certificate anchor) throws Exception {
        return Set.of(new TrustAnchor(anchor, null));
    }

    private static void rule(
            String[] parts,
            PKIXParameters asked,
            PKIXRevocationChecker checker,
            X509Certificate leaf,
            List<X509Certificate> between)
            throws Exception {
        asked.setDate(new Date(Long.parseLong(parts[0]) * 1000));
        if (!parts[6].isEmpty()) {
            asked.setInitialPolicies(new HashSet<>(split(parts[6])));
        }
        asked.setExplicitPolicyRequired(parts[7].charAt(0) == '1');
        asked.setPolicyMappingInhibited(parts[7].charAt(1) == '1');
        asked.setAnyPolicyInhibited(parts[7].charAt(2) == '1');
        asked.setRevocationEnabled(parts[8].equals("require"));
        if (!asked.isRevocationEnabled()) {
            return;
        }
        List<CRL> lists = new ArrayList<>();
        for (String each : split(parts[4])) {
            try {
                lists.add(FACTORY.generateCRL(new ByteArrayInputStream(octets(each))));
            } catch (CRLException unreadable) {
                continue;
            }
        }
        asked.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(lists)));
        List<String> responses = split(parts[5]);
        if (responses.isEmpty()) {
            checker.setOptions(
                    EnumSet.of(PKIXRevocationChecker.Option.PREFER_CRLS, PKIXRevocationChecker.Option.NO_FALLBACK));
        } else {
            checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.NO_FALLBACK));
            List<X509Certificate> path = new ArrayList<>();
            path.add(leaf);
            path.addAll(between);
            Map<X509Certificate, byte[]> stapled = new HashMap<>();
            for (int place = 0; place < responses.size() && place < path.size(); place++) {
                // The responses begin below the anchor, the path at the leaf.
                stapled.put(path.get(place), octets(responses.get(responses.size() - 1 - place)));
            }
            checker.setOcspResponses(stapled);
        }
        asked.addCertPathChecker(checker);
    }

    private static List<String> split(String text) {
        return text.isEmpty() ? List.of() : List.of(text.split(","));
    }

    private static byte[] octets(String text) {
        return Base64.getDecoder().decode(text);
    }

    private static X509Certificate certificate(String text) throws CertificateException {
        return (X509Certificate) FACTORY.generateCertificate(new ByteArrayInputStream(octets(text)));
    }
}
