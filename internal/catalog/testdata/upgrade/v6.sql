UPDATE policy SET name_key = lower(display_name);
UPDATE directory_user SET name_key = lower(display_name);
