-- Migration: 001_customers
-- Description: Customers, and the roles a shop needs
-- Author: Ada Kern
-- Date: 2025-03-03

BEGIN;

CREATE SCHEMA shop;
COMMENT ON SCHEMA shop IS 'A small web shop';

CREATE TABLE shop.customers (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email      text NOT NULL,
    name       text NOT NULL CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Two spellings of one address are one customer.
CREATE UNIQUE INDEX customers_email_key ON shop.customers (lower(email));

COMMIT;
