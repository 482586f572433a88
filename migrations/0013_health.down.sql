-- role: admin
revoke select on kysely_migration from outrider_app;
